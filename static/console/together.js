"use strict";

// One decision is sent once.
document.addEventListener("DOMContentLoaded", function () {
  document.addEventListener("submit", function (event) {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
});
