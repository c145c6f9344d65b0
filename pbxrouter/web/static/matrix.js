// The matrix of grants: each checkbox is saved at once, and the arrow keys move between cells. Without
// JavaScript the form's button saves all of them.
"use strict";

(() => {
  const form = document.getElementById("matrix");
  const said = document.getElementById("said");
  if (!form || !said) return;
  form.querySelector("[data-save]").hidden = true;
  form.querySelector("[data-live-hint]").hidden = false;

  function tell(text, kind, undo) {
    const notice = document.createElement("div");
    notice.className = `notice ${kind}`;
    const words = document.createElement("p");
    words.textContent = text;
    notice.append(words);
    if (undo) {
      const back = document.createElement("form");
      back.method = "post";
      back.action = `/rules/changes/${undo}/undo`;
      const code = document.createElement("input");
      code.type = "hidden";
      code.name = "csrf";
      code.value = form.dataset.csrf;
      const button = document.createElement("button");
      button.className = "quiet";
      button.textContent = said.dataset.undo;
      back.append(code, button);
      notice.append(back);
    }
    said.replaceChildren(notice);
    clearTimeout(leaving);
    if (kind === "good") leaving = setTimeout(leave, 20000);
  }

  // The notice covers a few checkboxes, so it disappears after a while; the page Changes has the same button.
  let leaving;
  function leave() {
    if (said.matches(":hover, :focus-within")) leaving = setTimeout(leave, 5000);
    else said.replaceChildren();
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") said.replaceChildren();
  });

  // Requests are sent one after the other, so that the last click wins.
  let saving = Promise.resolve();

  async function save(box, on) {
    const [holder, mapping] = box.value.split(".");
    const cell = box.closest("td");
    try {
      const answer = await fetch("/rules/grants/set", {
        method: "POST",
        headers: { "X-CSRF": form.dataset.csrf, Accept: "application/json" },
        body: new URLSearchParams({ kind: form.elements.kind.value, holder, mapping, on: on ? "1" : "0" }),
      });
      const type = answer.headers.get("Content-Type") || "";
      if (!type.startsWith("application/json")) throw new Error(answer.statusText);
      const { said: words, undo } = await answer.json();
      tell(words, answer.ok ? "good" : "bad", undo);
      if (!answer.ok) box.checked = !on;
    } catch {
      box.checked = !on;
      tell(said.dataset.failed, "bad");
    }
    cell.classList.remove("saving");
  }

  form.addEventListener("change", (event) => {
    const box = event.target;
    if (box.name !== "g") return;
    box.closest("td").classList.add("saving");
    const on = box.checked;
    saving = saving.then(() => save(box, on));
  });
  // The Enter key in a checkbox would send the form.
  form.addEventListener("submit", (event) => event.preventDefault());

  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  form.addEventListener("keydown", (event) => {
    const way = step[event.key];
    if (!way || event.target.name !== "g" || event.ctrlKey || event.altKey || event.metaKey) return;
    const cell = event.target.closest("td");
    const rows = form.querySelectorAll("tbody tr");
    const row = rows[cell.parentElement.rowIndex - 1 + way[0]];
    const box = row && row.cells[cell.cellIndex + way[1]]?.querySelector("input");
    if (box) {
      event.preventDefault();
      box.focus();
    }
  });
})();
