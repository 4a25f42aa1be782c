"use strict";

// The keys of the inbox, and one decision is sent once.
document.addEventListener("DOMContentLoaded", function () {
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    if (event.key === "a") document.getElementById("approve")?.focus();
    else if (event.key === "d") document.getElementById("reason")?.focus();
    else return;
    event.preventDefault();
  });
  document.addEventListener("submit", function (event) {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
});
