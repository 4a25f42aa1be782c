"use strict";

// The page is told over a socket that requests have moved, and then fetches its parts. While the socket is down it looks
// by itself every second, and says so. What is being written or chosen is never replaced: a notice says what has moved.
document.addEventListener("DOMContentLoaded", function () {
  const list = document.getElementById("list");
  const detail = document.getElementById("detail");
  const announce = document.getElementById("announce");
  const help = document.getElementById("help");
  const live = document.getElementById("live");
  const title = document.title.replace(/^\(\d+\+?\) /, "");
  const SAFETY = 15000, POLL = 1000, SAY_AFTER = 5000, SLOWEST = 30000, GAP = 400;
  let known = codes();
  let isUp = false, isOver = false, downSince = Date.now(), wait = 500, failedSince = 0;
  let looking = false, lookAgain = false, timer = 0;

  function codes() {
    return new Set([...list.querySelectorAll("[data-code]")].map((link) => link.dataset.code));
  }

  async function part(url, name) {
    const answer = await fetch(url, { headers: { "X-Wardgate-Part": name }, redirect: "error", cache: "no-store" });
    if (answer.status === 403 || answer.status === 401) end();
    if (answer.status === 503) throw new Error("not now");
    return answer.ok ? answer.text() : null;
  }

  // One look at a time; what is rung meanwhile is looked at right after.
  async function look() {
    if (looking) {
      lookAgain = true;
      return;
    }
    looking = true;
    clearTimeout(timer);
    do {
      if (lookAgain) await new Promise((resume) => setTimeout(resume, GAP));
      lookAgain = false;
      try {
        const [html, fresh] = await Promise.all([part(list.dataset.part, "list"), freshDetail()]);
        if (html !== null) show(html);
        if (fresh) showDetail(fresh);
        failedSince = 0;
      } catch {
        failedSince = failedSince || Date.now();
      }
    } while (lookAgain);
    looking = false;
    say();
    if (!isOver) timer = setTimeout(look, isUp ? SAFETY : POLL);
  }

  function connect() {
    if (isOver) return;
    const socket = new WebSocket(list.dataset.socket);
    socket.onopen = function () {
      isUp = true;
      wait = 500;
      look();
    };
    socket.onmessage = look;
    socket.onclose = function (event) {
      if (isUp) downSince = Date.now();
      isUp = false;
      // 4403: the login is over. A look says so, too, and shows nothing more.
      look();
      const full = event.code === 4429;
      setTimeout(connect, full ? SLOWEST : wait * (0.75 + Math.random() / 2));
      wait = Math.min(SLOWEST, wait * 2);
    };
  }

  function end() {
    isOver = true;
    isUp = false;
    clearTimeout(timer);
    say();
  }

  function say() {
    let state = "live", text = "Live";
    if (isOver) [state, text] = ["over", "You are logged out. Load the page again."];
    else if (failedSince && Date.now() - failedSince > SAY_AFTER) {
      [state, text] = ["lost", `No connection for ${span((Date.now() - failedSince) / 1000)}. What you see is old.`];
    } else if (!isUp && Date.now() - downSince > SAY_AFTER) [state, text] = ["polling", "Reconnecting. The page looks every second."];
    else if (!isUp) return;
    live.hidden = false;
    if (live.dataset.state !== state || state === "lost") {
      live.dataset.state = state;
      if (live.textContent !== text) live.textContent = text;
    }
  }

  function show(html) {
    const open = detail.querySelector("article")?.dataset.code;
    const active = document.activeElement;
    const focused = list.contains(active) ? selector(active) : null;
    const chosen = new Set([...list.querySelectorAll("[name=code]:checked")].map((box) => box.value));
    const filters = list.querySelector(".filters");
    // Whoever fills in the filter keeps it; the next look comes.
    if (filters?.contains(active)) return;
    const wasOpen = filters?.open;
    list.innerHTML = html;
    if (wasOpen && list.querySelector(".filters")) list.querySelector(".filters").open = true;
    for (const link of list.querySelectorAll("[data-code]")) {
      if (link.dataset.code === open) link.setAttribute("aria-current", "true");
    }
    for (const box of list.querySelectorAll("[name=code]")) box.checked = chosen.has(box.value);
    choose();
    // After `choose`, which shows the button: what is hidden takes no focus.
    if (focused) list.querySelector(focused)?.focus();
    badge();
    const now = codes();
    const fresh = [...now].filter((code) => !known.has(code));
    if (fresh.length) announce.textContent = fresh.length === 1 ? `New request ${fresh[0]}` : `${fresh.length} new requests`;
    known = now;
    countDown();
  }

  // What finds the same element again in a list that was fetched anew.
  function selector(element) {
    if (element.dataset.code) return `[data-code="${CSS.escape(element.dataset.code)}"]`;
    if (element.name === "code") return `[name=code][value="${CSS.escape(element.value)}"]`;
    if (element.closest(".chosen")) return ".chosen button";
    return element.matches("a[href]") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
  }

  function badge() {
    const place = list.querySelector("[data-count]");
    const count = Number(place?.dataset.count || 0), most = Number(place?.dataset.most || 1000);
    document.title = count ? `(${count > most ? `${most}+` : count}) ${title}` : title;
  }

  async function freshDetail() {
    const article = detail.querySelector("article");
    if (!article || article.dataset.state !== "held" && article.dataset.state !== "approved") return null;
    const html = await part(location.pathname, "detail");
    return html === null ? null : new DOMParser().parseFromString(html, "text/html").querySelector("article");
  }

  function showDetail(fresh) {
    const article = detail.querySelector("article");
    if (!article || fresh.dataset.changed === article.dataset.changed && fresh.dataset.state === article.dataset.state
      && fresh.dataset.became === article.dataset.became) return;
    const couldDecide = article.querySelector(".decide form, #decide");
    const isWriting = [...article.querySelectorAll("textarea")].some((field) => field.value);
    if (isWriting && fresh.dataset.state === "held" && !fresh.dataset.became) {
      if (!article.querySelector(".moved")) {
        article.prepend(note("notice warning moved", "This request has moved since you opened it. Reload before you decide."));
      }
      return;
    }
    const wasInside = article.contains(document.activeElement);
    article.replaceWith(document.adoptNode(fresh));
    if (fresh.dataset.became && couldDecide) {
      const told = note("notice warning", fresh.dataset.became);
      told.tabIndex = -1;
      fresh.prepend(told);
      if (wasInside) told.focus();
    }
    announce.textContent = `${fresh.dataset.code}: ${fresh.dataset.became || fresh.dataset.state}`;
    countDown();
  }

  function note(kind, text) {
    const made = document.createElement("p");
    made.className = kind;
    made.setAttribute("role", "status");
    made.textContent = text;
    return made;
  }

  function span(seconds) {
    const left = Math.max(0, Math.floor(seconds));
    const days = Math.floor(left / 86400), hours = Math.floor(left % 86400 / 3600), minutes = Math.floor(left % 3600 / 60);
    if (days) return `${days} d ${hours} h`;
    if (hours) return `${hours} h ${minutes} min`;
    return minutes ? `${minutes} min` : `${left} s`;
  }

  function countDown() {
    for (const place of document.querySelectorAll("[data-left]")) {
      if (!place.dataset.end) place.dataset.end = String(Date.now() + Number(place.dataset.left) * 1000);
      const left = (Number(place.dataset.end) - Date.now()) / 1000;
      const text = left > 0 ? span(left) : "0 s";
      if (place.textContent !== text) place.textContent = text;
      place.classList.toggle("soon", left < 60);
      if (left <= 0 && !place.dataset.over) {
        place.dataset.over = "yes";
        setTimeout(look, 500);
      }
    }
    for (const place of document.querySelectorAll("[data-age]")) {
      if (!place.dataset.begin) place.dataset.begin = String(Date.now() - Number(place.dataset.age) * 1000);
      const text = span((Date.now() - Number(place.dataset.begin)) / 1000);
      if (place.textContent !== text) place.textContent = text;
    }
  }

  // Only requests of one rule and one tool go together.
  function choose() {
    const boxes = [...list.querySelectorAll("[name=code]")];
    const chosen = boxes.filter((box) => box.checked);
    for (const box of boxes) {
      box.disabled = chosen.length > 0 && !box.checked && (box.dataset.kind !== chosen[0].dataset.kind || chosen.length >= 20);
    }
    const bar = list.querySelector(".chosen");
    if (!bar) return;
    bar.hidden = chosen.length === 0;
    bar.querySelector("[data-chosen]").textContent = chosen.length === 1 ? "Decide 1 chosen" : `Decide ${chosen.length} chosen together`;
  }

  list.addEventListener("change", function (event) {
    if (event.target.name === "code") choose();
  });

  document.addEventListener("keydown", function (event) {
    const isText = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, dialog");
    if (event.ctrlKey || event.metaKey || event.altKey || isText) return;
    const links = [...list.querySelectorAll("[data-code]")];
    const line = document.activeElement.closest?.(".line");
    const at = links.findIndex((link) => line ? line.contains(link) : link.getAttribute("aria-current"));
    if (event.key === "j") links[Math.min(at + 1, links.length - 1)]?.focus();
    else if (event.key === "k") links[Math.max(at - 1, 0)]?.focus();
    else if (event.key === "x") {
      const box = line?.querySelector("[name=code]");
      if (!box || box.disabled) announce.textContent = "This one is decided by itself.";
      else {
        box.checked = !box.checked;
        choose();
        announce.textContent = box.checked ? `Chosen ${box.value}` : `No longer chosen ${box.value}`;
      }
    } else if (event.key === "?") help.showModal();
    else return;
    event.preventDefault();
  });

  // Whoever sets a number means the choice that it belongs to.
  detail.addEventListener("input", function (event) {
    const radio = event.target.closest(".check")?.querySelector("[type=radio]");
    if (radio && radio !== event.target) radio.checked = true;
  });

  // One decision is sent once, however often the button is pressed.
  document.addEventListener("submit", function (event) {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", function (event) {
    if (event.persisted) for (const form of document.forms) delete form.dataset.sent;
  });
  document.addEventListener("visibilitychange", function () {
    if (!document.hidden) look();
  });

  choose();
  countDown();
  setInterval(function () {
    countDown();
    say();
  }, 1000);
  timer = setTimeout(look, POLL);
  connect();
});
