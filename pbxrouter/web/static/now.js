// Keeps the page Now up to date by server-sent events with the changed parts.
// Without JavaScript the page stays as it was when it was loaded.
"use strict";

(() => {
  const feed = document.querySelector("[data-feed]");
  const body = document.querySelector("[data-rows]");
  const rows = new Map([...body.children].map((row) => [row.dataset.row, row]));
  const focusable = "a[href], button, summary, [tabindex]";
  let ahead = Number(feed.dataset.now) - Date.now() / 1000; // seconds by which the server's clock is ahead of the browser's
  let source = null;
  let again = 0;
  let began = false;

  // --- the state of the connection ---

  const say = (state) => {
    const words = feed.dataset[state];
    if (feed.textContent !== words) feed.textContent = words;
    feed.className = `feed small ${state}`;
    feed.hidden = false;
  };

  // --- applying changes ---

  // Replaces the HTML of a part; the keyboard focus stays in it.
  const put = (place, html) => {
    const inside = place.contains(document.activeElement)
      ? [...place.querySelectorAll(focusable)].indexOf(document.activeElement)
      : -1;
    const scrolled = place.querySelector(".graph")?.scrollLeft;
    place.innerHTML = html;
    if (scrolled) place.querySelector(".graph")?.scrollTo({ left: scrolled, behavior: "instant" });
    if (inside >= 0) {
      const there = place.querySelectorAll(focusable);
      (there[inside] || there[there.length - 1])?.focus({ preventScroll: true });
    }
  };

  const rowOf = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    return template.content.firstElementChild;
  };

  const take = (news) => {
    ahead = news.at - Date.now() / 1000;
    for (const [name, html] of Object.entries(news.parts)) {
      const place = document.querySelector(`[data-part="${name}"]`);
      if (place) put(place, html);
    }
    for (const [key, html] of Object.entries(news.rows)) {
      const row = rowOf(html);
      const old = rows.get(key);
      if (old) old.replaceWith(row);
      else if (began) row.classList.add("new");
      rows.set(key, row);
    }
    if (news.order) {
      const wanted = new Set(news.order);
      for (const [key, row] of rows) {
        if (wanted.has(key)) continue;
        row.remove();
        rows.delete(key);
      }
      news.order.forEach((key, place) => {
        const row = rows.get(key);
        if (row && body.children[place] !== row) body.insertBefore(row, body.children[place] || null);
      });
    }
    began = true;
    tick();
  };

  // --- the duration of calls, updated once a second ---

  const lasted = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const two = (number) => String(number).padStart(2, "0");
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  };

  const tick = () => {
    const now = Date.now() / 1000 + ahead;
    for (const place of document.querySelectorAll(".ticking")) {
      const text = lasted(now - Number(place.dataset.since));
      if (place.textContent !== text) place.textContent = text;
    }
  };

  // --- the connection: open only while the page is visible ---

  const stop = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };

  const start = () => {
    stop();
    source = new EventSource(feed.dataset.feed);
    source.addEventListener("now", (event) => {
      take(JSON.parse(event.data));
      say("live");
    });
    source.addEventListener("over", () => location.reload()); // leads to the login page
    source.addEventListener("error", () => {
      say("lost");
      if (source.readyState === EventSource.CLOSED) refused();
    });
  };

  // The server or a proxy has refused the stream: the browser would not try again by itself.
  const refused = async () => {
    stop();
    let wait = 5 + 10 * Math.random();
    try {
      const answer = await fetch(feed.dataset.feed, { method: "HEAD", redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect") return location.reload(); // logged out
      if (answer.status === 503) {
        say("full");
        wait = Number(answer.headers.get("Retry-After")) || 30;
      }
    } catch {
      // The server does not answer.
    }
    again = setTimeout(() => document.hidden || start(), 1000 * wait);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => event.persisted && start());
  setInterval(tick, 1000);
  tick();
  if (!document.hidden) start();
})();
