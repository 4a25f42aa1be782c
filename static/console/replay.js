"use strict";

// The page is complete without this file: the list leads to a page for each call. With it the page is a player. Time is
// in microseconds since the session began. Whatever is shown comes from the server as escaped HTML and is moved in as
// elements; nothing that was recorded is ever put together to markup here.
(function () {
  const STEP_US = 5e6;
  const IDLE_US = 1e6;
  const PANELS = 60;
  const POLL_MS = [1000, 2000, 4000, 5000];
  const SPEEDS = [0.5, 1, 2, 4, 8, 16];
  const root = document.getElementById("replay");
  document.documentElement.classList.add("scripted");
  setUpArticle(document);
  document.addEventListener("click", copyOnClick);
  if (!root) {
    return;
  }

  const panels = new Map();
  const state = { moment: 0, playing: false, speed: 1, skips: true, live: false, last: 0, polls: 0, whole: false };
  let page, knots, rows, loading, frame, timer;

  // ---- the page of calls, which is replaced while the session goes on

  function readPage() {
    page = root.querySelector(".page");
    const player = root.querySelector(".player");
    rows = Array.from(root.querySelectorAll(".list a[data-call]")).map(function (link) {
      return {
        link,
        call: link.dataset.call,
        from: Number(link.dataset.from),
        until: Number(link.dataset.until),
        isMarked: "marks" in link.dataset,
      };
    });
    knots = player ? player.dataset.knots.split(" ").map((knot) => knot.split(",").map(Number)) : [];
    if (!player) {
      return;
    }
    const slider = player.querySelector(".moment");
    slider.addEventListener("input", () => seek(momentAt(Number(slider.value))));
    for (const control of player.querySelectorAll("[data-do]")) {
      const name = control.dataset.do;
      if (control.tagName === "BUTTON") {
        control.addEventListener("click", () => actions[name]());
      } else {
        control.addEventListener("change", () => changed[name](control));
      }
    }
    for (const row of rows) {
      row.link.addEventListener("click", function (event) {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) {
          return;
        }
        event.preventDefault();
        pause();
        choose(row);
        if (matchMedia("(max-width: 60rem)").matches) {
          root.querySelector("#details").scrollIntoView();
        }
      });
    }
    showControls();
  }

  function placeOf(moment) {
    for (let each = 1; each < knots.length; each += 1) {
      const [begin, left] = knots[each - 1];
      const [end, right] = knots[each];
      if (moment <= end) {
        return left + ((right - left) * (Math.max(moment, begin) - begin)) / Math.max(1, end - begin);
      }
    }
    return knots.length ? knots[knots.length - 1][1] : 0;
  }

  function momentAt(place) {
    for (let each = 1; each < knots.length; each += 1) {
      const [begin, left] = knots[each - 1];
      const [end, right] = knots[each];
      if (place <= right) {
        return begin + ((end - begin) * (Math.max(place, left) - left)) / Math.max(1e-9, right - left);
      }
    }
    return knots.length ? knots[knots.length - 1][0] : 0;
  }

  const first = () => (knots.length ? knots[0][0] : 0);
  const end = () => (knots.length ? knots[knots.length - 1][0] : 0);

  // ---- the moment

  function seek(moment, options = {}) {
    state.moment = Math.min(end(), Math.max(first(), moment));
    state.whole = Boolean(options.whole);
    drawMoment();
    let row = options.row;
    if (!row) {
      row = rows.filter((each) => each.from <= state.moment).pop() || rows[0];
    }
    if (row) {
      select(row);
    }
  }

  function choose(row) {
    // Whoever picks a call wants to see all of it, as it was when it had ended.
    seek(row.until, { row, whole: true });
  }

  function drawMoment() {
    const player = root.querySelector(".player");
    if (!player) {
      return;
    }
    const place = placeOf(state.moment);
    const text = spoken(state.moment);
    player.querySelector(".head").setAttribute("x", Math.min(998, place).toFixed(2));
    const slider = player.querySelector(".moment");
    slider.value = place.toFixed(1);
    slider.setAttribute("aria-valuetext", text);
    player.querySelector(".clock").textContent = text;
    showArrived();
  }

  function showArrived() {
    for (const side of root.querySelectorAll('[data-side="answer"]')) {
      let arrived = 0;
      const messages = side.querySelectorAll(".message[data-at]");
      for (const message of messages) {
        message.hidden = !state.whole && Number(message.dataset.at) > state.moment;
        arrived += message.hidden ? 0 : 1;
      }
      side.querySelector(".not-yet").hidden = !messages.length || arrived > 0;
    }
  }

  function spoken(moment) {
    const seconds = moment / 1e6;
    if (seconds < 60) {
      return `+${seconds.toFixed(3)} s`;
    }
    const whole = Math.floor(seconds);
    const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return "+" + parts.map((part) => String(part).padStart(2, "0")).join(":") + (seconds % 1).toFixed(3).slice(1);
  }

  // ---- the call

  function selected() {
    return rows.findIndex((row) => row.link.hasAttribute("aria-current"));
  }

  function select(row) {
    const details = root.querySelector("#details");
    const shown = details.querySelector("article.call");
    for (const each of rows) {
      if (each === row) {
        each.link.setAttribute("aria-current", "true");
      } else {
        each.link.removeAttribute("aria-current");
      }
    }
    scrollInList(row.link);
    if (shown && shown.dataset.call === row.call) {
      showArrived();
      return;
    }
    clearTimeout(loading);
    const kept = panels.get(row.call);
    if (kept) {
      show(kept);
    } else {
      // A player that rushes through a hundred calls must not ask for each of them.
      loading = setTimeout(() => load(row), state.playing ? 120 : 0);
    }
  }

  function scrollInList(link) {
    const list = link.closest(".list");
    const top = link.offsetTop - list.offsetTop;
    if (top < list.scrollTop || top + link.offsetHeight > list.scrollTop + list.clientHeight) {
      list.scrollTop = top - list.clientHeight / 3;
    }
  }

  async function load(row) {
    root.querySelector("#details").setAttribute("aria-busy", "true");
    try {
      const article = (await fetched(row.link.dataset.panel)).querySelector("article.call");
      setUpArticle(article);
      keep(row.call, article);
      const now = rows[selected()];
      if (now && now.call === row.call) {
        show(article);
      }
    } catch {
      announce("This call cannot be loaded. Its own page may say why.");
    } finally {
      root.querySelector("#details").removeAttribute("aria-busy");
    }
  }

  function keep(call, article) {
    panels.delete(call);
    panels.set(call, article);
    if (panels.size > PANELS) {
      panels.delete(panels.keys().next().value);
    }
  }

  function show(article) {
    const details = root.querySelector("#details");
    const before = details.querySelector("article.call");
    if (before) {
      for (const side of before.querySelectorAll("[data-side]")) {
        const tab = side.querySelector('[role="tab"][aria-selected="true"]');
        const same = article.querySelector(`[data-side="${side.dataset.side}"]`);
        if (tab && same) {
          openTab(same, tab.textContent);
        }
      }
      keep(before.dataset.call, before);
    }
    details.replaceChildren(article);
    showArrived();
  }

  async function fetched(url) {
    const answer = await fetch(url, { credentials: "same-origin", headers: { Accept: "text/html" }, redirect: "error" });
    if (!answer.ok) {
      throw new Error(String(answer.status));
    }
    if (answer.status === 204) {
      return null;
    }
    return document.importNode(new DOMParser().parseFromString(await answer.text(), "text/html").body, true);
  }

  // ---- playing

  function play() {
    if (state.moment >= end()) {
      seek(first());
    }
    state.playing = true;
    state.whole = false;
    state.last = performance.now();
    showControls();
    frame = requestAnimationFrame(tick);
  }

  function pause() {
    state.playing = false;
    cancelAnimationFrame(frame);
    showControls();
  }

  function tick(now) {
    if (!state.playing) {
      return;
    }
    let moment = state.moment + Math.min(250, now - state.last) * 1000 * state.speed;
    state.last = now;
    if (state.skips) {
      const busy = rows.some((row) => row.from <= moment && moment <= row.until);
      const next = rows.find((row) => row.from > moment);
      const before = Math.max(first(), ...rows.filter((row) => row.until <= moment).map((row) => row.until));
      if (!busy && next && moment - before > IDLE_US && next.from - moment > 0) {
        moment = next.from;
      }
    }
    seek(moment);
    if (moment >= end()) {
      pause();
      return;
    }
    frame = requestAnimationFrame(tick);
  }

  // ---- live

  async function poll() {
    if (!state.live) {
      return;
    }
    let wait = POLL_MS[Math.min(state.polls, POLL_MS.length - 1)];
    if (!document.hidden) {
      const url = new URL(root.dataset.tail, location.href);
      url.searchParams.set("seen", page.dataset.seen);
      url.searchParams.set("after", page.dataset.page);
      url.searchParams.set("q", new URLSearchParams(location.search).get("q") || "");
      try {
        const fresh = await fetched(url);
        state.polls = fresh ? 0 : state.polls + 1;
        if (fresh) {
          takeOver(fresh.querySelector(".page"));
          wait = POLL_MS[0];
        }
      } catch {
        announce("The session cannot be followed at the moment. Trying again.");
        state.polls += 1;
      }
    }
    timer = setTimeout(poll, wait);
  }

  function takeOver(fresh) {
    const details = root.querySelector("#details");
    const chosen = rows[selected()];
    const wasLast = !chosen || chosen === rows[rows.length - 1];
    const hadFocus = document.activeElement && document.activeElement.closest("[data-do]");
    const control = hadFocus ? hadFocus.dataset.do : "";
    page.replaceWith(fresh);
    const place = fresh.querySelector("#details");
    if (details && place) {
      place.replaceWith(details);
    }
    const before = rows.length;
    panels.clear();
    readPage();
    if (control) {
      const again = root.querySelector(`[data-do="${control}"]`);
      if (again) {
        again.focus();
      }
    }
    const same = chosen && rows.find((row) => row.call === chosen.call);
    const row = wasLast ? rows[rows.length - 1] : same;
    if (row) {
      const article = details && details.querySelector("article.call");
      if (article && article.dataset.call === row.call) {
        article.remove();
      }
      choose(row);
    }
    if (rows.length > before) {
      announce(`${rows.length - before} new ${rows.length - before === 1 ? "call" : "calls"}.`);
    }
    if ("ended" in fresh.dataset) {
      setLive(false);
      announce("The session has ended.");
    } else if ("more" in fresh.dataset) {
      location.search = "?live=1";
    }
  }

  function setLive(isLive) {
    state.live = isLive;
    clearTimeout(timer);
    showControls();
    if (isLive) {
      pause();
      state.polls = 0;
      poll();
    }
  }

  // ---- controls

  const actions = {
    play: () => (state.playing ? pause() : play()),
    before: () => toMark(-1),
    next: () => toMark(1),
    link: copyMoment,
    help: () => document.getElementById("help").showModal(),
  };
  const changed = {
    speed: (control) => setSpeed(Number(control.value)),
    idle: (control) => {
      state.skips = control.checked;
    },
    live: (control) => goLive(control.checked),
  };

  function goLive(isLive) {
    if (isLive && root.dataset.live !== "yes" && ("more" in page.dataset || page.dataset.page !== "0")) {
      location.search = "?live=1";
      return;
    }
    setLive(isLive);
  }

  function setSpeed(speed) {
    state.speed = speed;
    showControls();
  }

  function showControls() {
    const player = root.querySelector(".player");
    if (!player) {
      return;
    }
    const button = player.querySelector('[data-do="play"]');
    button.setAttribute("aria-pressed", String(state.playing));
    button.querySelector(".word").textContent = state.playing ? "Pause" : "Play";
    player.querySelector('[data-do="speed"]').value = String(state.speed);
    player.querySelector('[data-do="idle"]').checked = state.skips;
    const live = player.querySelector('[data-do="live"]');
    if (live) {
      live.checked = state.live;
    }
  }

  function toMark(by) {
    const now = selected();
    const marked = rows.map((row, place) => (row.isMarked ? place : -1)).filter((place) => place >= 0);
    const next = by > 0 ? marked.find((place) => place > now) : marked.filter((place) => place < now).pop();
    if (next === undefined) {
      announce(by > 0 ? "There is no further marker on this page." : "There is no earlier marker on this page.");
      return;
    }
    pause();
    choose(rows[next]);
  }

  function stepCall(by) {
    if (!rows.length) {
      return;
    }
    pause();
    const next = rows[Math.min(rows.length - 1, Math.max(0, selected() + by))];
    choose(next);
    next.link.focus({ preventScroll: true });
  }

  function stepMessage(by) {
    const moments = [];
    for (const row of rows) {
      moments.push(row.from, row.until);
    }
    for (const message of root.querySelectorAll(".tab .message[data-at]")) {
      moments.push(Number(message.dataset.at));
    }
    moments.sort((one, other) => one - other);
    const next = by > 0 ? moments.find((each) => each > state.moment) : moments.filter((each) => each < state.moment).pop();
    if (next !== undefined) {
      pause();
      seek(next);
    }
  }

  function stepSpeed(by) {
    const place = SPEEDS.indexOf(state.speed) + by;
    setSpeed(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, place))]);
    announce(`Speed ${state.speed}×`);
  }

  function jump(seconds) {
    pause();
    seek(state.moment + seconds);
  }

  function copyMoment() {
    const url = new URL(location.href);
    url.search = "";
    url.searchParams.set("at", (state.moment / 1e6).toFixed(6));
    const row = rows[selected()];
    url.hash = row ? `call-${row.call}` : "";
    history.replaceState(null, "", url);
    copy(url.href, "The link to this moment is copied, and stands in the address bar.");
  }

  // ---- keys

  const keys = {
    " ": actions.play,
    "[": actions.before,
    "]": actions.next,
    j: () => stepCall(1),
    k: () => stepCall(-1),
    ",": () => stepMessage(-1),
    ".": () => stepMessage(1),
    "<": () => stepSpeed(-1),
    ">": () => stepSpeed(1),
    "/": () => document.getElementById("filter").focus(),
    "?": actions.help,
    c: copyMoment,
    i: () => {
      state.skips = !state.skips;
      showControls();
      announce(state.skips ? "What is idle is skipped." : "What is idle is played.");
    },
    l: () => root.dataset.tail && goLive(!state.live),
  };

  document.addEventListener("keydown", function (event) {
    const target = event.target;
    const isTyping = target.closest("input:not([type=range]):not([type=checkbox]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping || target.closest("dialog") || !rows.length) {
      return;
    }
    const key = event.key;
    const isReading = target.closest("pre, .scroll");
    const isInTabs = target.closest('[role="tablist"]');
    if (key === " " && target.closest("button, a, summary, input")) {
      return;
    }
    if ((key === "ArrowLeft" || key === "ArrowRight") && !isReading && !isInTabs) {
      const by = key === "ArrowLeft" ? -1 : 1;
      event.preventDefault();
      if (event.shiftKey) {
        pause();
        seek(momentAt(placeOf(state.moment) + by * 100));
      } else {
        jump(by * STEP_US);
      }
    } else if ((key === "ArrowUp" || key === "ArrowDown") && target.closest(".list")) {
      event.preventDefault();
      stepCall(key === "ArrowUp" ? -1 : 1);
    } else if (/^[0-9]$/.test(key)) {
      pause();
      seek(momentAt(Number(key) * 100));
    } else if (key in keys) {
      event.preventDefault();
      keys[key]();
    }
  });

  // ---- the beginning

  function begin() {
    readPage();
    if (!rows.length) {
      if (root.dataset.tail) {
        setLive(true);
      }
      return;
    }
    const at = new URLSearchParams(location.search).get("at");
    const linked = /^#call-([0-9a-f-]{36})$/.exec(location.hash);
    const row = linked && rows.find((each) => each.call === linked[1]);
    if (at !== null && Number(at) >= 0) {
      seek(Number(at) * 1e6, row ? { row } : {});
    } else if (row) {
      choose(row);
    } else if (linked) {
      location.replace(rows[0].link.href.replace(rows[0].call, linked[1]));
    } else {
      choose(rows[Math.max(0, selected())]);
    }
    if (root.dataset.live === "yes") {
      setLive(true);
    }
  }
  begin();
  addEventListener("hashchange", begin);
  addEventListener("pagehide", () => clearTimeout(timer));

  // ---- what every page of a call has

  function announce(text) {
    const place = root && root.querySelector(".announce");
    if (place) {
      place.textContent = text;
    }
  }

  function setUpArticle(scope) {
    for (const side of scope.querySelectorAll("[data-side]")) {
      const tabs = Array.from(side.querySelectorAll(":scope > .tab"));
      const bar = document.createElement("div");
      bar.className = "tabs";
      bar.setAttribute("role", "tablist");
      bar.setAttribute("aria-label", side.getAttribute("aria-label"));
      for (const tab of tabs) {
        const call = tab.closest("article").dataset.call;
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = tab.dataset.tab;
        button.id = `tab-${side.dataset.side}-${tab.dataset.tab}-${call}`;
        tab.id = `of-${button.id}`;
        button.setAttribute("role", "tab");
        button.setAttribute("aria-controls", tab.id);
        tab.setAttribute("role", "tabpanel");
        tab.setAttribute("aria-labelledby", button.id);
        button.addEventListener("click", () => openTab(side, tab.dataset.tab));
        bar.append(button);
      }
      bar.addEventListener("keydown", function (event) {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (by) {
          const now = tabs.findIndex((tab) => !tab.hidden);
          const next = tabs[(now + by + tabs.length) % tabs.length];
          openTab(side, next.dataset.tab);
          bar.querySelector('[aria-selected="true"]').focus();
        }
      });
      tabs[0].before(bar);
      openTab(side, tabs[0].dataset.tab);
    }
  }

  function openTab(side, name) {
    for (const tab of side.querySelectorAll(":scope > .tab")) {
      const isOpen = tab.dataset.tab === name;
      const button = side.querySelector(`[aria-controls="${tab.id}"]`);
      tab.hidden = !isOpen;
      button.setAttribute("aria-selected", String(isOpen));
      button.tabIndex = isOpen ? 0 : -1;
    }
  }

  function copyOnClick(event) {
    const button = event.target.closest("[data-copy]");
    if (button) {
      copy(document.getElementById(button.dataset.copy).textContent, "Copied.", button);
    }
  }

  async function copy(text, done, button) {
    let said = done;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      said = "The browser does not let this page copy. Select the text and copy it.";
    }
    announce(said);
    if (button) {
      button.textContent = said === done ? "Copied" : "Select and copy";
    }
  }
})();
