"use strict";

// The searchable selects of the admin replace a labelled field by one without a name; the label names both. They are
// made some time after the page has loaded, so the page is watched for them.
document.addEventListener("DOMContentLoaded", function () {
  function name() {
    for (const shown of document.querySelectorAll("select.admin-autocomplete + .select2")) {
      const label = document.querySelector(`label[for="${CSS.escape(shown.previousElementSibling.id)}"]`);
      for (const part of label ? shown.querySelectorAll("[role=combobox]:not([aria-label]), [role=textbox]:not([aria-label]), .select2-search__field:not([aria-label])") : []) {
        part.setAttribute("aria-label", label.textContent.trim());
        part.removeAttribute("aria-labelledby");
      }
    }
  }
  const form = document.querySelector("#content:has(form)");
  if (form) {
    new MutationObserver(name).observe(form, { childList: true, subtree: true });
    name();
  }
});
