"use strict";

// Asks a security key (WebAuthn level 2). The challenge is in the page, the answer goes into the form's hidden field.
document.addEventListener("DOMContentLoaded", function () {
  const form = document.querySelector("[data-key-form]");
  const given = document.getElementById("wg-key-challenge");
  const button = form && form.querySelector("[data-key]");
  if (!given || !button || !window.PublicKeyCredential) return;
  button.hidden = false;
  for (const note of form.querySelectorAll(".wg-key-none")) note.hidden = true;

  function bytes(text) {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (character) => character.charCodeAt(0));
  }

  function text(buffer) {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }

  function options() {
    const asked = JSON.parse(given.textContent).publicKey;
    asked.challenge = bytes(asked.challenge);
    if (asked.user) asked.user.id = bytes(asked.user.id);
    for (const known of [...(asked.allowCredentials || []), ...(asked.excludeCredentials || [])]) known.id = bytes(known.id);
    return { publicKey: asked };
  }

  function plain(credential) {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = text(credential.response[name]);
    }
    return {
      id: credential.id,
      rawId: text(credential.rawId),
      type: credential.type,
      response: response,
      clientExtensionResults: credential.getClientExtensionResults(),
    };
  }

  button.addEventListener("click", async function () {
    const problem = form.querySelector(".wg-key-problem");
    problem.hidden = true;
    try {
      const container = navigator.credentials;
      const credential = await (button.dataset.key === "create" ? container.create(options()) : container.get(options()));
      form.querySelector("[name=credential]").value = JSON.stringify(plain(credential));
      form.requestSubmit();
    } catch {
      problem.hidden = false;
    }
  });
});
