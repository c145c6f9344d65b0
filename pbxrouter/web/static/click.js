// Click-to-dial: shows the call's state as it changes. Without JavaScript the page reloads itself.
"use strict";

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Long polling: the server holds each request until there is news; a pause bounds the rate.
async function follow(place) {
  let failures = 0;
  for (;;) {
    const state = place.querySelector("[data-seen]");
    if (!state || state.dataset.over) return;
    try {
      const separator = place.dataset.news.includes("?") ? "&" : "?";
      const answer = await fetch(`${place.dataset.news}${separator}seen=${state.dataset.seen}`, { cache: "no-store" });
      if (answer.status >= 400 && answer.status < 500) return;
      if (!answer.ok) throw new Error(answer.statusText);
      const html = await answer.text();
      const parsed = new DOMParser().parseFromString(html, "text/html").querySelector("[data-seen]");
      if (parsed && (parsed.dataset.seen !== state.dataset.seen || parsed.dataset.over)) {
        place.replaceChildren(parsed);
        const headline = parsed.querySelector("h1");
        if (headline && place.hasAttribute("data-title")) document.title = headline.textContent;
      }
      failures = 0;
      await pause(300);
    } catch {
      failures += 1;
      if (failures > 20) return;
      await pause(Math.min(1000 * failures, 5000));
    }
  }
}

const place = document.querySelector("[data-news]");
if (place) follow(place);

// The button that places a call works once.
for (const button of document.querySelectorAll("button[data-busy]")) {
  button.form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = button.dataset.busy;
  });
}
// After "back" in the browser it works again.
window.addEventListener("pageshow", (event) => {
  if (event.persisted && document.querySelector("button[data-busy][disabled]")) location.reload();
});
