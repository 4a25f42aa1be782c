"use strict";

// Runs in the background of a browser whose person has allowed messages. It controls no page (its scope holds none),
// fetches nothing, and decides nothing: a message is shown as text, and a click opens the page that it is about.

const PAGE = /^\/(?:inbox|approvals)\/(?:[A-Z0-9-]{1,20}\/)?$/;

function page(value) {
  return typeof value === "string" && PAGE.test(value) ? value : "/inbox/";
}

function text(value, most) {
  return typeof value === "string" ? value.slice(0, most) : "";
}

function told(data) {
  let given = null;
  try {
    given = data ? data.json() : null;
  } catch {
    given = null;
  }
  return given !== null && typeof given === "object" ? given : {};
}

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("push", (event) => {
  const given = told(event.data);
  const path = page(given.path);
  event.waitUntil(
    self.registration.showNotification(text(given.title, 200) || "Wardgate", {
      body: text(given.body, 500),
      tag: text(given.tag, 40),
      icon: "../wardgate.svg",
      data: { path },
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const place = new URL(page(event.notification.data?.path), self.location.origin).href;
  event.waitUntil(
    self.clients.matchAll({ type: "window", includeUncontrolled: true }).then((windows) => {
      const open = windows.find((one) => one.url === place);
      return open ? open.focus() : self.clients.openWindow(place);
    }),
  );
});
