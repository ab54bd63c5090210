/** What can be changed in the run table itself: the order of its columns, further sort keys, a run's words, its chips. */

import { writing } from "./page.js";

const REFOCUS = "runyard-heading";
const table = () => document.getElementById("runs-table");
const headings = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#runs-table th[data-column]")]);

/** @param {string} address */
function show(address) {
  // @ts-ignore htmx has no types here
  return window.htmx.ajax("GET", address, { target: "#runs-list", swap: "innerHTML" });
}

// Columns -------------------------------------------------------------------------------------------------------------

/** The run's own column is always the first. */
const movable = (/** @type {HTMLElement} */ heading) => heading.dataset.column !== "number";

/**
 * @param {string} key
 * @param {number} to its new place among the chosen columns
 */
function put(key, to) {
  const keys = (table()?.dataset.columns ?? "").split(",");
  const from = keys.indexOf(key);
  if (from < 0) return;
  keys.splice(from, 1);
  keys.splice(Math.max(0, Math.min(keys.length, to)), 0, key);
  const address = new URL(location.href);
  address.searchParams.set("columns", keys.join(","));
  for (const name of ["act", "undone", "stopped", "kept", "edit"]) address.searchParams.delete(name);
  sessionStorage.setItem(REFOCUS, key);
  location.assign(address);
}

const wanted = sessionStorage.getItem(REFOCUS);
if (wanted) {
  sessionStorage.removeItem(REFOCUS);
  /** @type {HTMLElement | null | undefined} */ (headings().find((each) => each.dataset.column === wanted)?.querySelector("a"))?.focus();
}

function prepare() {
  for (const heading of headings()) if (movable(heading)) heading.draggable = true;
}
prepare();
document.addEventListener("htmx:afterSettle", prepare);

let dragged = "";
const clear = () => headings().forEach((each) => each.removeAttribute("data-drop"));

document.addEventListener("dragstart", (event) => {
  const heading = /** @type {HTMLElement} */ (event.target).closest?.("th[data-column]");
  if (!(heading instanceof HTMLElement) || !movable(heading) || !event.dataTransfer) return;
  dragged = heading.dataset.column ?? "";
  heading.dataset.dragged = "";
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", dragged);
});

/** @param {DragEvent} event */
function under(event) {
  const heading = /** @type {HTMLElement} */ (event.target).closest?.("th[data-column]");
  if (!dragged || !(heading instanceof HTMLElement)) return null;
  const box = heading.getBoundingClientRect();
  return { heading, after: !movable(heading) || event.clientX > box.left + box.width / 2 };
}

document.addEventListener("dragover", (event) => {
  const place = under(event);
  if (!place) return;
  event.preventDefault();
  clear();
  place.heading.dataset.drop = place.after ? "after" : "before";
});

document.addEventListener("drop", (event) => {
  const place = under(event);
  if (!place) return;
  event.preventDefault();
  const keys = (table()?.dataset.columns ?? "").split(",").filter((key) => key !== dragged);
  const other = keys.indexOf(place.heading.dataset.column ?? "");
  if (place.heading.dataset.column !== dragged) put(dragged, other + (place.after ? 1 : 0));
});

document.addEventListener("dragend", () => {
  dragged = "";
  clear();
  headings().forEach((each) => each.removeAttribute("data-dragged"));
});

// Sorting by several --------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const link = /** @type {HTMLElement} */ (event.target).closest?.("a[data-then]");
  if (!event.shiftKey || !(link instanceof HTMLElement)) return;
  event.preventDefault();
  location.assign(link.dataset.then ?? "");
});

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (target.matches("[data-chip]") && (event.key === "Delete" || event.key === "Backspace")) {
    event.preventDefault();
    target.click();
    return;
  }
  if (target.closest(".words-row")) {
    if (event.key === "Escape") close(target.closest(".words-row"));
    else if (event.key === "Enter" && target.matches("input, textarea") && (target.matches("input") || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      save(/** @type {HTMLElement} */ (target.closest(".words-row")));
    }
    return;
  }
  if (writing(event)) return;
  const heading = /** @type {HTMLElement | null} */ (target.closest("#runs-table th[data-column]"));
  if (!heading || !movable(heading)) return;
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    location.assign(/** @type {HTMLElement} */ (heading.querySelector("a")).dataset.then ?? "");
  } else if (event.key === "<" || event.key === ">") {
    event.preventDefault();
    const key = heading.dataset.column ?? "";
    put(key, (table()?.dataset.columns ?? "").split(",").indexOf(key) + (event.key === "<" ? -1 : 1));
  }
});

// A run's words -------------------------------------------------------------------------------------------------------

/** @param {Element | null} row */
function close(row) {
  const run = /** @type {HTMLElement | null} */ (row)?.dataset.wordsOf;
  row?.remove();
  document.getElementById(`open-${run}`)?.focus({ preventScroll: true });
}

/** @param {HTMLElement} link */
async function edit(link) {
  const row = /** @type {HTMLElement} */ (link.closest("tr"));
  const run = row.dataset.run ?? "";
  if (document.getElementById(`words-${run}`)) return close(document.getElementById(`words-${run}`));
  const answer = await fetch(`/runs/${run}/words${location.search}`);
  if (!answer.ok) return location.assign(/** @type {HTMLAnchorElement} */ (link).href);
  for (const other of document.querySelectorAll(".words-row")) other.remove();
  const made = document.createElement("template");
  made.innerHTML = await answer.text();
  row.after(made.content);
  /** @type {HTMLInputElement | null} */ (document.querySelector(`#words-${run} input[name=name]`))?.select();
}

/** Tags by comma; one that has a comma itself stands in quotes, which only the server reads. */
const plain = (/** @type {string} */ tags) => !tags.includes('"');

/** @param {HTMLElement} row */
async function save(row) {
  const field = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (row.querySelector(`[name=${name}]`)).value;
  const button = /** @type {HTMLButtonElement} */ (row.querySelector("button"));
  if (!plain(field("tags"))) return button.click();
  const tags = [...new Set(field("tags").split(",").map((tag) => tag.trim()).filter(Boolean))];
  button.disabled = true;
  const answer = await fetch(`/api/v1/runs/${row.dataset.wordsOf}`, {
    method: "PATCH",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: field("name"), notes: field("notes"), tags }),
  });
  button.disabled = false;
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: "The server did not answer." }));
    button.setCustomValidity(problem.detail);
    button.reportValidity();
    button.setCustomValidity("");
    return;
  }
  const run = row.dataset.wordsOf;
  await show(location.pathname + location.search);
  document.getElementById(`open-${run}`)?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const link = /** @type {HTMLElement | null} */ (target.closest?.("a[data-edit]"));
  if (link && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    edit(link);
  } else if (target.closest?.("[data-close]")) {
    event.preventDefault();
    close(target.closest(".words-row"));
  } else if (target.closest?.(".words-row button") && plain(/** @type {HTMLInputElement} */ (document.querySelector(".words-row [name=tags]")).value)) {
    event.preventDefault();
    save(/** @type {HTMLElement} */ (target.closest(".words-row")));
  }
});

// Groups that are read anew stay open.
/** @type {Set<string>} */
let open = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  open = new Set([.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#runs-table details[open]"))].map((each) => each.dataset.of ?? ""));
});
document.addEventListener("htmx:afterSwap", () => {
  for (const each of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#runs-table details[data-of]"))) each.toggleAttribute("open", open.has(each.dataset.of ?? ""));
});

// What is opened to be filled in is written in at once.
document.addEventListener("click", (event) => {
  const fold = /** @type {HTMLElement} */ (event.target).closest?.(".tools summary")?.parentElement;
  if (!(fold instanceof HTMLDetailsElement) || fold.open) return;
  const field = /** @type {HTMLInputElement | null} */ (fold.querySelector("input:not([type=hidden])"));
  if (!field) return;
  event.preventDefault();
  fold.open = true;
  field.focus();
  field.select();
});

// A list that hangs over the table closes like a menu.
document.addEventListener("click", (event) => {
  for (const pop of document.querySelectorAll(".tools .pop[open]")) if (!pop.contains(/** @type {Node} */ (event.target))) pop.removeAttribute("open");
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const pop of document.querySelectorAll(".tools .pop[open]")) {
    pop.removeAttribute("open");
    pop.querySelector("summary")?.focus();
  }
});
