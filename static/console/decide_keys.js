"use strict";

// The keys that lead to a decision, on every page where one is made. What is typed blind, before the page listens or
// beside the field, must never approve: `a` leads to the button, only Enter presses it then, and whatever else is typed
// leads away from it. Whoever comes there with Tab uses it like any button.
document.addEventListener("DOMContentLoaded", function () {
  let led = null;

  function lead(id) {
    const place = document.getElementById(id);
    place?.focus();
    led = id === "approve" ? place : null;
  }

  function isTyped(event) {
    return event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey
      && !event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, dialog");
  }

  document.addEventListener("keydown", function (event) {
    if (!isTyped(event)) return;
    const isLed = led && led === document.activeElement;
    if (event.key === "a") lead("approve");
    else if (event.key === "d") lead("reason");
    else if (isLed && event.key !== " ") return led.blur();
    else if (!isLed) return;
    event.preventDefault();
  });

  // Some browsers press a button when the space bar comes up, whatever became of its going down.
  document.addEventListener("keyup", function (event) {
    if (event.key === " " && led && led === document.activeElement) event.preventDefault();
  });

  document.addEventListener("focusout", function () {
    led = null;
  });
});
