/** The run table: what is selected outlives every update, and all of it can be done from the keyboard. */

import { writing } from "./page.js";

/** @type {Set<string>} */
const selected = new Set();
let here = "";
/** Whether all that match are meant, on whatever page they stand. */
const every = () => /** @type {HTMLInputElement | null} */ (document.querySelector("[data-every]"));
const meantMany = () => (every()?.checked ? Number(every()?.dataset.every) : selected.size);

const rows = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#runs-table tbody tr[data-run]")]);
const boxOf = (/** @type {Element | null | undefined} */ row) =>
  /** @type {HTMLInputElement | null} */ (row?.querySelector("input[name=runs]") ?? null);

/** Put on the page what is remembered: checks, the current row, the bar's words and buttons. */
function show() {
  const onPage = new Set(rows().map((row) => row.dataset.run ?? ""));
  for (const run of selected) if (!onPage.has(run)) selected.delete(run);
  const many = meantMany();
  for (const row of rows()) {
    const box = boxOf(row);
    if (box) box.checked = selected.has(row.dataset.run ?? "");
    row.toggleAttribute("data-here", row.dataset.run === here);
  }
  const words = document.querySelector("[data-selected]");
  if (words) words.textContent = many ? `${many.toLocaleString("en")} selected` : "None selected";
  document.querySelector(".selection")?.toggleAttribute("data-none", !many);
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-act]"))) {
    // A group is several runs.
    button.disabled = many < (button.dataset.act === "compare" && !document.querySelector("tr[data-group]") ? 2 : 1);
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
  if ("every" in box.dataset) return show();
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

// Rows that come in above push nothing away: whoever has scrolled goes on to see what stood there.
/** @type {{ row: HTMLElement, top: number } | null} */
let watched = null;
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  if (/** @type {CustomEvent} */ (event).detail.target.tagName !== "TBODY" || !scrollY) return;
  const row = rows().find((each) => each.getBoundingClientRect().bottom > 0);
  if (row) watched = { row, top: row.getBoundingClientRect().top };
});
document.addEventListener("htmx:oobAfterSwap", () => {
  if (watched?.row.isConnected) scrollBy({ top: watched.row.getBoundingClientRect().top - watched.top, behavior: "instant" });
  watched = null;
});
addEventListener("pageshow", () => {
  readBoxes();
  show();
});

// The answer to tags that cannot be is the table again, at an address that cannot be loaded anew.
if (document.querySelector("[data-tag-field][aria-invalid=true]")) {
  const back = /** @type {HTMLInputElement} */ (document.querySelector("#runs-form [name=back]"));
  history.replaceState(history.state, "", back.value);
}


/** @param {number} by */
function move(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.dataset.run === here);
  const row = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  here = row.dataset.run ?? "";
  show();
  /** @type {HTMLElement | null} */ (row.querySelector("td.name a, th.name summary"))?.focus({ preventScroll: true });
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
  if (!meantMany() && here) toggle();
  const button = /** @type {HTMLButtonElement | null} */ (document.querySelector(`[data-act=${act}]`));
  if (button && !button.disabled) button.click();
}

document.addEventListener("keydown", (event) => {
  if (/** @type {HTMLElement} */ (event.target).matches("[data-tag-field]") && event.key === "Enter") {
    // Enter would press the first button of the form.
    event.preventDefault();
    /** @type {HTMLButtonElement | null} */ (document.querySelector("[data-act=tag]"))?.click();
    return;
  }
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
      if (here.includes(",")) return;
      location.assign(`/runs/${here}`);
      break;
    case "e": {
      const link = /** @type {HTMLElement | null | undefined} */ (rows().find((row) => row.dataset.run === here)?.querySelector("a[data-edit]"));
      if (!link) return;
      link.click();
      break;
    }
    case "t": {
      const field = /** @type {HTMLElement | null} */ (document.querySelector("[data-tag-field]"));
      if (!field) return;
      if (!meantMany() && here) toggle();
      field.focus();
      break;
    }
    case "A": {
      // The page first, then all that match.
      const all = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-check-all]"));
      if (!all) return;
      if (all.checked && every()) /** @type {HTMLInputElement} */ (every()).click();
      else if (!all.checked) all.click();
      break;
    }
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
