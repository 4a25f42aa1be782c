"use strict";

// The page is complete without this file; it adds the keys: "/" goes to the search, j and k through what was found.
(function () {
  document.documentElement.classList.add("scripted");
  const links = Array.from(document.querySelectorAll(".found tbody a"));

  function step(by) {
    const now = links.indexOf(document.activeElement);
    const next = now < 0 && by > 0 ? 0 : Math.min(links.length - 1, Math.max(0, now + by));
    if (links[next]) {
      links[next].focus();
    }
  }

  document.addEventListener("keydown", function (event) {
    const isTyping = event.target.closest("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping) {
      return;
    }
    if (event.key === "/") {
      event.preventDefault();
      document.getElementById("filter").focus();
    } else if (event.key === "j") {
      step(1);
    } else if (event.key === "k") {
      step(-1);
    }
  });
})();
