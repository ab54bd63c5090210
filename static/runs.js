/** The run table: what is selected outlives every update, and all of it can be done from the keyboard. */

import { writing } from "./page.js";

/** @type {Set<string>} */
const selected = new Set();
let here = "";

const rows = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#runs-table tbody tr[data-run]")]);
const boxOf = (/** @type {Element | null | undefined} */ row) =>
  /** @type {HTMLInputElement | null} */ (row?.querySelector("input[name=runs]") ?? null);

/** Put on the page what is remembered: checks, the current row, the bar's words and buttons. */
function show() {
  const onPage = new Set(rows().map((row) => row.dataset.run ?? ""));
  for (const run of selected) if (!onPage.has(run)) selected.delete(run);
  for (const row of rows()) {
    const box = boxOf(row);
    if (box) box.checked = selected.has(row.dataset.run ?? "");
    row.toggleAttribute("data-here", row.dataset.run === here);
  }
  const words = document.querySelector("[data-selected]");
  if (words) words.textContent = selected.size ? `${selected.size} selected` : "None selected";
  document.querySelector(".selection")?.toggleAttribute("data-none", !selected.size);
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-act]"))) {
    button.disabled = selected.size < (button.dataset.act === "compare" ? 2 : 1);
  }
  const all = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-check-all]"));
  if (all) {
    all.checked = onPage.size > 0 && selected.size === onPage.size;
    all.indeterminate = selected.size > 0 && selected.size < onPage.size;
  }
}

function readBoxes() {
  selected.clear();
  for (const row of rows()) if (boxOf(row)?.checked) selected.add(row.dataset.run ?? "");
}

document.addEventListener("change", (event) => {
  const box = /** @type {HTMLInputElement} */ (event.target);
  if ("checkAll" in box.dataset) {
    for (const row of rows()) {
      const each = boxOf(row);
      if (each) each.checked = box.checked;
    }
  } else if (box.name !== "runs") return;
  readBoxes();
  show();
});

let anchor = "";
document.addEventListener("click", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const row = /** @type {HTMLElement | null} */ (target.closest("#runs-table tbody tr[data-run]"));
  if (!row) return;
  const box = target.closest("input[name=runs]");
  if (box && event.shiftKey && anchor) {
    const all = rows();
    const [from, to] = [all.findIndex((each) => each.dataset.run === anchor), all.indexOf(row)].sort((a, b) => a - b);
    for (const each of all.slice(Math.max(0, from), to + 1)) selected.add(each.dataset.run ?? "");
    requestAnimationFrame(show);
  }
  if (box) anchor = row.dataset.run ?? "";
  here = row.dataset.run ?? "";
  for (const each of rows()) each.toggleAttribute("data-here", each === row);
});

document.addEventListener("htmx:afterSettle", show);
document.addEventListener("htmx:oobAfterSwap", show);
addEventListener("pageshow", () => {
  readBoxes();
  show();
});


/** @param {number} by */
function move(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.dataset.run === here);
  const row = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  here = row.dataset.run ?? "";
  show();
  /** @type {HTMLElement | null} */ (row.querySelector("td.name a"))?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function toggle() {
  const box = boxOf(rows().find((row) => row.dataset.run === here));
  if (!box) return;
  box.checked = !box.checked;
  readBoxes();
  show();
}

/** @param {string} act */
function press(act) {
  if (!selected.size && here) toggle();
  const button = /** @type {HTMLButtonElement | null} */ (document.querySelector(`[data-act=${act}]`));
  if (button && !button.disabled) button.click();
}

document.addEventListener("keydown", (event) => {
  if (writing(event) || document.querySelector("dialog[open]")) return;
  const target = /** @type {HTMLElement} */ (event.target);
  const onControl = target.matches("button, summary, input") || (target.matches("a") && !target.closest("#runs-table tbody"));
  switch (event.key) {
    case "j":
    case "ArrowDown":
      move(1);
      break;
    case "k":
    case "ArrowUp":
      move(-1);
      break;
    case " ":
      if (onControl || !here) return;
      toggle();
      break;
    case "Enter":
      if (onControl || !here || target.matches("a")) return;
      location.assign(`/runs/${here}`);
      break;
    case "c":
      press("compare");
      break;
    case "x":
      press("stop");
      break;
    default:
      return;
  }
  event.preventDefault();
});
