"use strict";

// Times count down, and the page of a request looks after itself. What is being written is never taken away.
document.addEventListener("DOMContentLoaded", function () {
  const place = document.getElementById("status");
  const announce = document.getElementById("announce");

  function countDown() {
    for (const left of document.querySelectorAll("[data-left]")) {
      if (!left.dataset.end) left.dataset.end = String(Date.now() + Number(left.dataset.left) * 1000);
      const seconds = Math.max(0, Math.round((Number(left.dataset.end) - Date.now()) / 1000));
      const hours = Math.floor(seconds / 3600), minutes = Math.floor((seconds % 3600) / 60);
      left.textContent = hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
    }
  }

  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(place.dataset.part, { headers: { "X-Wardgate-Part": "status" }, redirect: "error" });
        if (answer.ok) show(await answer.text());
      } catch {
        // The next look may work again.
      }
    }
    setTimeout(look, 2000);
  }

  function show(html) {
    const article = place.querySelector("article");
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector("article");
    if (!fresh || fresh.dataset.changed === article.dataset.changed) return;
    const isWriting = [...article.querySelectorAll("textarea")].some((field) => field.value);
    if (isWriting && fresh.dataset.state === article.dataset.state) return;
    article.replaceWith(document.adoptNode(fresh));
    announce.textContent = `${fresh.dataset.code}: ${fresh.dataset.said}`;
    countDown();
  }

  document.addEventListener("submit", function (event) {
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });

  countDown();
  setInterval(countDown, 1000);
  if (place) setTimeout(look, 2000);
});
