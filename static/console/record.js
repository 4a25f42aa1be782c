"use strict";

// Loaded before anything is drawn: the console's own switch keeps its choice here, as a JSON string.
(function () {
  let theme = "auto";
  try {
    theme = JSON.parse(localStorage.getItem("adminTheme") || '"auto"');
  } catch {
    theme = "auto";
  }
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  }
})();
