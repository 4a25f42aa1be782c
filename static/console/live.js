"use strict";

// A part of a page that is still changing is fetched anew every second, and put in place of the old one, until it says
// that it has ended. What has the focus keeps it.
document.addEventListener("DOMContentLoaded", function () {
  for (const place of document.querySelectorAll("[data-live]")) {
    const look = async function () {
      try {
        const answer = await fetch(place.dataset.live, { headers: { accept: "text/html" }, redirect: "error" });
        if (!answer.ok) {
          return;
        }
        const active = place.contains(document.activeElement) ? document.activeElement : null;
        const which = active ? [...place.querySelectorAll("a, button")].indexOf(active) : -1;
        place.innerHTML = await answer.text();
        if (which >= 0) {
          place.querySelectorAll("a, button")[which]?.focus();
        }
      } catch {
        // The next look may work again.
      }
      again();
    };
    const again = function () {
      if (place.querySelector("[data-is-open]")) {
        setTimeout(look, 1000);
      }
    };
    again();
  }
});
