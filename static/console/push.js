"use strict";

// Messages in this browser: allowed, subscribed to, and given up again, on the person's notifications page.
document.addEventListener("DOMContentLoaded", () => {
  const box = document.getElementById("push");
  if (!box) return;
  const state = box.querySelector("[role=status]");
  const on = box.querySelector("[data-on]");
  const off = box.querySelector("[data-off]");
  const { browser, worker, scope, token } = box.dataset;

  function say(sentence) {
    state.textContent = sentence;
  }

  function show(isOn) {
    on.hidden = isOn;
    off.hidden = !isOn;
  }

  async function ask(method, body) {
    const headers = { "X-CSRFToken": token, ...(body ? { "Content-Type": "application/json" } : {}) };
    const answer = await fetch(browser, { method, headers, body: body ? JSON.stringify(body) : undefined });
    if (!answer.ok) {
      const said = await answer.json().catch(() => ({}));
      throw new Error(said.detail || `The gateway answered ${answer.status}.`);
    }
    return answer;
  }

  function bytes(encoded) {
    const plain = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  }

  // A registration can subscribe when its worker is active; `ready` would wait for one that controls this page.
  function active(registration) {
    const coming = registration.installing || registration.waiting;
    if (registration.active || !coming) return Promise.resolve(registration);
    return new Promise((resolve, reject) => {
      coming.addEventListener("statechange", () => {
        if (coming.state === "activated") resolve(registration);
        if (coming.state === "redundant") reject(new Error("The browser did not start the worker."));
      });
    });
  }

  async function current() {
    const registration = await navigator.serviceWorker.getRegistration(scope);
    return registration ? registration.pushManager.getSubscription() : null;
  }

  async function subscribe() {
    if ((await Notification.requestPermission()) !== "granted") {
      say("This browser does not allow messages from this site. Allow them in its settings, then try again.");
      return;
    }
    const { key } = await (await ask("GET")).json();
    const registration = await active(await navigator.serviceWorker.register(worker, { scope }));
    const old = await registration.pushManager.getSubscription();
    if (old) await old.unsubscribe();
    const made = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(key) });
    const { endpoint, keys } = made.toJSON();
    try {
      await ask("POST", { endpoint, p256dh: keys.p256dh, auth: keys.auth });
    } catch (error) {
      await made.unsubscribe();
      throw error;
    }
    say("You are told in this browser.");
    show(true);
  }

  async function unsubscribe() {
    const subscription = await current();
    if (subscription) {
      await ask("DELETE", { endpoint: subscription.endpoint });
      await subscription.unsubscribe();
    }
    say("You are told nothing in this browser any more.");
    show(false);
  }

  function press(button, action) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await action();
      } catch (error) {
        say(error.message);
      } finally {
        button.disabled = false;
      }
    });
  }

  if (!("serviceWorker" in navigator && "PushManager" in window && "Notification" in window)) {
    say("This browser cannot be told, or this page did not come over https.");
    return;
  }
  press(on, subscribe);
  press(off, unsubscribe);
  current()
    .then((subscription) => {
      say(subscription ? "You are told in this browser." : "You are not told in this browser.");
      show(Boolean(subscription));
    })
    .catch(() => show(false));
});
