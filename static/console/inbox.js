"use strict";

// The list looks after itself every second while the page is seen, and the open request does when it has moved. What is
// being written is never replaced: a notice says that the request has moved instead.
document.addEventListener("DOMContentLoaded", function () {
  const list = document.getElementById("list");
  const detail = document.getElementById("detail");
  const announce = document.getElementById("announce");
  const help = document.getElementById("help");
  const title = document.title.replace(/^\(\d+\) /, "");
  let known = codes();

  function codes() {
    return new Set([...list.querySelectorAll("[data-code]")].map((link) => link.dataset.code));
  }

  async function part(url, name) {
    const answer = await fetch(url, { headers: { "X-Wardgate-Part": name }, redirect: "error" });
    return answer.ok ? answer.text() : null;
  }

  async function look() {
    if (!document.hidden) {
      try {
        const html = await part(list.dataset.part, "list");
        if (html !== null) show(html);
        await lookAtDetail();
      } catch {
        // The next look may work again.
      }
    }
    setTimeout(look, 1000);
  }

  function show(html) {
    const open = detail.querySelector("article")?.dataset.code;
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.code : null;
    list.innerHTML = html;
    for (const link of list.querySelectorAll("[data-code]")) {
      if (link.dataset.code === open) link.setAttribute("aria-current", "true");
      if (link.dataset.code === focused) link.focus();
    }
    const count = Number(list.querySelector("[data-count]")?.dataset.count || 0);
    document.title = count ? `(${count}) ${title}` : title;
    const now = codes();
    const fresh = [...now].filter((code) => !known.has(code));
    if (fresh.length) announce.textContent = fresh.length === 1 ? `New request ${fresh[0]}` : `${fresh.length} new requests`;
    known = now;
    count_down();
  }

  async function lookAtDetail() {
    const article = detail.querySelector("article");
    if (!article || article.dataset.state !== "held" && article.dataset.state !== "approved") return;
    const html = await part(location.pathname, "detail");
    if (html === null) return;
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("article");
    if (!fresh || fresh.dataset.changed === article.dataset.changed) return;
    const form = article.querySelector("form");
    const is_writing = form && [...form.querySelectorAll("textarea")].some((field) => field.value);
    if (is_writing && fresh.dataset.state === "held") {
      if (!article.querySelector(".moved")) {
        const note = document.createElement("p");
        note.className = "notice warning moved";
        note.setAttribute("role", "status");
        note.textContent = "This request has changed since you opened it. Reload before you decide.";
        article.prepend(note);
      }
      return;
    }
    article.replaceWith(document.adoptNode(fresh));
    announce.textContent = `${fresh.dataset.code}: ${fresh.dataset.state}`;
    if (fresh.dataset.state !== "held") {
      const note = document.createElement("p");
      note.className = "notice";
      note.setAttribute("role", "status");
      note.textContent = "Decided by somebody else a moment ago.";
      if (form) fresh.prepend(note);
    }
    count_down();
  }

  function count_down() {
    for (const place of document.querySelectorAll("[data-left]")) {
      if (!place.dataset.end) place.dataset.end = String(Date.now() + Number(place.dataset.left) * 1000);
      const left = Math.max(0, Math.round((Number(place.dataset.end) - Date.now()) / 1000));
      const hours = Math.floor(left / 3600), minutes = Math.floor((left % 3600) / 60);
      place.textContent = hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min` : `${left} s`;
    }
  }

  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    const links = [...list.querySelectorAll("[data-code]")];
    const at = links.indexOf(document.activeElement);
    if (event.key === "j") links[Math.min(at + 1, links.length - 1)]?.focus();
    else if (event.key === "k") links[Math.max(at - 1, 0)]?.focus();
    else if (event.key === "a") document.getElementById("approve")?.focus();
    else if (event.key === "d") document.getElementById("reason")?.focus();
    else if (event.key === "?") help.showModal();
    else return;
    event.preventDefault();
  });

  // One decision is sent once, however often the button is pressed.
  document.addEventListener("submit", function (event) {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });

  count_down();
  setInterval(count_down, 1000);
  setTimeout(look, 1000);
});
