/** Selecting runs in the run table, by mouse and keyboard. The selection survives updates of the table. */

import { closest, get, query, queryAll } from "./dom.js";
import { isTyping } from "./page.js";

/** @type {Set<string>} */
const selected = new Set();
/** The run of the current row, which keys act on; "" if there is none. */
let current = "";

/** The checkbox that selects all matching runs, on every page. */
const everyBox = () => query(document, "[data-every]", HTMLInputElement);
/** The checkbox that selects all runs of this page. */
const pageBox = () => query(document, "[data-check-all]", HTMLInputElement);
const selectedCount = () => {
  const box = everyBox();
  return box?.checked ? Number(box.dataset.every) : selected.size;
};

const rows = () => queryAll(document, "#runs-table tbody tr[data-run]", HTMLElement);
const currentRow = () => rows().find((row) => row.dataset.run === current);
const checkboxOf = (/** @type {Element} */ row) => query(row, "input[name=runs]", HTMLInputElement);

/** Show the selection on the page: checkboxes, the current row, the selection bar and its buttons. */
function show() {
  const onPage = new Set(rows().map((row) => row.dataset.run ?? ""));
  for (const run of selected) if (!onPage.has(run)) selected.delete(run);
  const count = selectedCount();
  for (const row of rows()) {
    const box = checkboxOf(row);
    if (box) box.checked = selected.has(row.dataset.run ?? "");
    row.toggleAttribute("data-here", row.dataset.run === current);
  }
  const label = document.querySelector("[data-selected]");
  if (label) label.textContent = count ? `${count.toLocaleString("en")} selected` : "None selected";
  document.querySelector(".selection")?.toggleAttribute("data-none", !count);
  for (const button of queryAll(document, "[data-act]", HTMLButtonElement)) {
    // One group is enough for a comparison: it contains several runs.
    const needsTwo = button.dataset.act === "compare" && !document.querySelector("tr[data-group]");
    button.disabled = count < (needsTwo ? 2 : 1);
  }
  const all = pageBox();
  if (all) {
    all.checked = onPage.size > 0 && selected.size === onPage.size;
    all.indeterminate = selected.size > 0 && selected.size < onPage.size;
  }
}

function readCheckboxes() {
  selected.clear();
  for (const row of rows()) if (checkboxOf(row)?.checked) selected.add(row.dataset.run ?? "");
}

document.addEventListener("change", ({ target: box }) => {
  if (!(box instanceof HTMLInputElement)) return;
  if ("every" in box.dataset) {
    show();
    return;
  }
  if ("checkAll" in box.dataset) {
    for (const row of rows()) {
      const rowBox = checkboxOf(row);
      if (rowBox) rowBox.checked = box.checked;
    }
  } else if (box.name !== "runs") return;
  readCheckboxes();
  show();
});

/** The run that was clicked last: Shift extends the selection from it. */
let anchor = "";
document.addEventListener("click", (event) => {
  const row = closest(event.target, "#runs-table tbody tr[data-run]", HTMLElement);
  if (!row) return;
  const box = closest(event.target, "input[name=runs]", HTMLInputElement);
  if (box && event.shiftKey && anchor) {
    const all = rows();
    const ends = [all.findIndex((other) => other.dataset.run === anchor), all.indexOf(row)];
    const [from, to] = ends.sort((a, b) => a - b);
    for (const between of all.slice(Math.max(0, from), to + 1)) selected.add(between.dataset.run ?? "");
    requestAnimationFrame(show);
  }
  if (box) anchor = row.dataset.run ?? "";
  current = row.dataset.run ?? "";
  for (const other of rows()) other.toggleAttribute("data-here", other === row);
});

// Not only when the table has settled: until then the buttons of a new table could be pressed with nothing selected.
document.addEventListener("htmx:afterSwap", show);
document.addEventListener("htmx:oobAfterSwap", show);
addEventListener("pageshow", () => {
  readCheckboxes();
  show();
});

// New rows above the visible ones do not move them: the page scrolls along.
/** @type {{row: HTMLElement, top: number} | null} */
let topRow = null;
document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  if (detail.target.tagName !== "TBODY" || !scrollY) return;
  const row = rows().find((each) => each.getBoundingClientRect().bottom > 0);
  if (row) topRow = { row, top: row.getBoundingClientRect().top };
});
document.addEventListener("htmx:oobAfterSwap", () => {
  if (topRow?.row.isConnected) {
    scrollBy({ top: topRow.row.getBoundingClientRect().top - topRow.top, behavior: "instant" });
  }
  topRow = null;
});

// The response to invalid tags is the table, at a URL that accepts only POST: restore the table's URL.
if (document.querySelector("[data-tag-field][aria-invalid=true]")) {
  history.replaceState(history.state, "", get(document, "#runs-form [name=back]", HTMLInputElement).value);
}

// Keyboard ------------------------------------------------------------------------------------------------------------

/** @param {number} distance in rows */
function moveCurrent(distance) {
  const all = rows();
  if (!all.length) return;
  const index = all.findIndex((row) => row.dataset.run === current);
  const row = all[Math.min(all.length - 1, Math.max(0, index < 0 ? 0 : index + distance))];
  current = row.dataset.run ?? "";
  show();
  query(row, "td.name a, th.name summary", HTMLElement)?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function toggleCurrent() {
  const row = currentRow();
  const box = row ? checkboxOf(row) : null;
  if (!box) return;
  box.checked = !box.checked;
  readCheckboxes();
  show();
}

/** Select the current run if nothing is selected. */
function ensureSelection() {
  if (!selectedCount() && current) toggleCurrent();
}

/** @param {string} action */
function press(action) {
  ensureSelection();
  const button = query(document, `[data-act=${action}]`, HTMLButtonElement);
  if (button && !button.disabled) button.click();
}

/** Handle a shortcut; returns whether the key is one here. @param {string} key @param {Element} target @returns {boolean} */
function handleKey(key, target) {
  const isLink = target.matches("a");
  const onControl = target.matches("button, summary, input") || (isLink && !target.closest("#runs-table tbody"));
  switch (key) {
    case "j":
    case "ArrowDown":
      moveCurrent(1);
      return true;
    case "k":
    case "ArrowUp":
      moveCurrent(-1);
      return true;
    case " ":
      if (onControl || !current) return false;
      toggleCurrent();
      return true;
    case "Enter":
      // The id of a group's row lists its runs, separated by commas: it has no page.
      if (onControl || isLink || !current || current.includes(",")) return false;
      location.assign(`/runs/${current}`);
      return true;
    case "e": {
      const row = currentRow();
      const link = row ? query(row, "a[data-edit]", HTMLElement) : null;
      link?.click();
      return link !== null;
    }
    case "t": {
      const field = query(document, "[data-tag-field]", HTMLElement);
      if (field) ensureSelection();
      field?.focus();
      return field !== null;
    }
    case "A": {
      // The first press selects this page, the second one all matching runs.
      const box = pageBox();
      if (box?.checked) everyBox()?.click();
      else box?.click();
      return box !== null;
    }
    case "c":
      press("compare");
      return true;
    case "x":
      press("stop");
      return true;
    default:
      return false;
  }
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (!(target instanceof Element)) return;
  if (target.matches("[data-tag-field]") && key === "Enter") {
    // By default Enter presses the first button of the form.
    event.preventDefault();
    query(document, "[data-act=tag]", HTMLButtonElement)?.click();
    return;
  }
  if (isTyping(event) || document.querySelector("dialog[open]")) return;
  if (handleKey(key, target)) event.preventDefault();
});
