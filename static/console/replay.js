"use strict";

// The page is complete without this file: every call is there, one below the other. With it, one call at a time is
// shown beside the list, and the keys j and k (or the arrows) move through it.

(function () {
  // The console's own switch keeps its choice here, as a JSON string.
  let theme = "auto";
  try {
    theme = JSON.parse(localStorage.getItem("adminTheme") || '"auto"');
  } catch {
    theme = "auto";
  }
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  }

  document.addEventListener("DOMContentLoaded", function () {
    const links = Array.from(document.querySelectorAll(".list ol a"));
    const form = document.querySelector(".filter");
    if (form) {
      form.elements.verdict.addEventListener("change", () => form.requestSubmit());
    }
    if (!links.length) {
      return;
    }
    const anchors = links.map((link) => link.hash.slice(1));

    function openOwnPage(anchor) {
      const found = /^call-([0-9a-f-]{36})$/.exec(anchor);
      if (found) {
        location.replace(location.pathname + "calls/" + found[1] + "/");
      }
    }

    function select(position, moves) {
      links.forEach((link, place) => {
        if (place === position) {
          link.setAttribute("aria-current", "true");
        } else {
          link.removeAttribute("aria-current");
        }
        document.getElementById(anchors[place]).hidden = place !== position;
      });
      if (moves) {
        links[position].scrollIntoView({ block: "nearest" });
      }
    }

    function follow() {
      const anchor = location.hash.slice(1);
      if (anchor === "calls") {
        return;
      }
      const position = anchors.indexOf(anchor);
      if (position < 0 && anchor) {
        openOwnPage(anchor);
      }
      select(Math.max(position, 0), position >= 0);
      if (position >= 0 && matchMedia("(max-width: 60rem)").matches) {
        document.getElementById(anchor).scrollIntoView();
      }
    }

    function step(by) {
      const now = links.findIndex((link) => link.hasAttribute("aria-current"));
      const next = Math.min(links.length - 1, Math.max(0, now + by));
      history.replaceState(null, "", "#" + anchors[next]);
      select(next, true);
      links[next].focus({ preventScroll: true });
    }

    document.documentElement.classList.add("scripted");
    window.addEventListener("hashchange", follow);
    document.addEventListener("keydown", function (event) {
      const target = event.target;
      if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea")) {
        return;
      }
      // Inside a message the arrows scroll it.
      const isInList = !target.closest("pre, .scroll");
      if (event.key === "j" || (event.key === "ArrowDown" && isInList)) {
        event.preventDefault();
        step(1);
      } else if (event.key === "k" || (event.key === "ArrowUp" && isInList)) {
        event.preventDefault();
        step(-1);
      }
    });
    follow();
  });
})();
