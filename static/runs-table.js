/** The run table: reordering columns, sorting by several of them, editing a run's name, notes and tags, and menus. */

import { closest, get, query, queryAll } from "./dom.js";
import { isTyping } from "./page.js";
import { moveItem } from "./reorder.js";

const REFOCUS_KEY = "runyard-heading";
/** Parameters of the URL that report the last action, or open an editor. */
const NOTICE_PARAMETERS = ["act", "undone", "stopped", "kept", "edit"];

const headings = () => queryAll(document, "#runs-table th[data-column]", HTMLElement);
const columnKeys = () => (document.getElementById("runs-table")?.dataset.columns ?? "").split(",");

// Columns -------------------------------------------------------------------------------------------------------------

/** Whether a column can move: the run's own column is always the first. */
const isMovable = (/** @type {HTMLElement} */ heading) => heading.dataset.column !== "number";

/**
 * Move a column, and reload the page with the new order.
 * @param {string} key
 * @param {number} to index
 */
function moveColumn(key, to) {
  const keys = columnKeys();
  if (!keys.includes(key)) return;
  const url = new URL(location.href);
  url.searchParams.set("columns", moveItem(keys, key, to).join(","));
  for (const name of NOTICE_PARAMETERS) url.searchParams.delete(name);
  sessionStorage.setItem(REFOCUS_KEY, key);
  location.assign(url);
}

const refocusKey = sessionStorage.getItem(REFOCUS_KEY);
if (refocusKey) {
  sessionStorage.removeItem(REFOCUS_KEY);
  headings()
    .find((heading) => heading.dataset.column === refocusKey)
    ?.querySelector("a")
    ?.focus();
}

function makeDraggable() {
  for (const heading of headings()) if (isMovable(heading)) heading.draggable = true;
}
makeDraggable();
document.addEventListener("htmx:afterSettle", makeDraggable);

let draggedKey = "";
const clearDropMarks = () => {
  for (const heading of headings()) heading.removeAttribute("data-drop");
};

document.addEventListener("dragstart", (event) => {
  const heading = closest(event.target, "th[data-column]", HTMLElement);
  if (!heading || !isMovable(heading) || !event.dataTransfer) return;
  draggedKey = heading.dataset.column ?? "";
  heading.dataset.dragged = "";
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", draggedKey);
});

/** The heading under the pointer, and the side of it on which the column would be dropped. */
function dropTarget(/** @type {DragEvent} */ event) {
  const heading = closest(event.target, "th[data-column]", HTMLElement);
  if (!draggedKey || !heading) return null;
  const box = heading.getBoundingClientRect();
  return { heading, after: !isMovable(heading) || event.clientX > box.left + box.width / 2 };
}

document.addEventListener("dragover", (event) => {
  const target = dropTarget(event);
  if (!target) return;
  event.preventDefault();
  clearDropMarks();
  target.heading.dataset.drop = target.after ? "after" : "before";
});

document.addEventListener("drop", (event) => {
  const target = dropTarget(event);
  if (!target) return;
  event.preventDefault();
  const others = columnKeys().filter((key) => key !== draggedKey);
  const index = others.indexOf(target.heading.dataset.column ?? "");
  if (target.heading.dataset.column !== draggedKey) moveColumn(draggedKey, index + (target.after ? 1 : 0));
});

document.addEventListener("dragend", () => {
  draggedKey = "";
  clearDropMarks();
  for (const heading of headings()) heading.removeAttribute("data-dragged");
});

// Sorting, and keys ---------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const link = closest(event.target, "a[data-then]", HTMLElement);
  if (!event.shiftKey || !link) return;
  event.preventDefault();
  location.assign(link.dataset.then ?? "");
});

/** @param {KeyboardEvent} event @param {HTMLElement} editor */
function onEditorKey(event, editor) {
  const { key, target } = event;
  if (key === "Escape") closeEditor(editor);
  else if (key === "Enter") {
    const submits =
      target instanceof HTMLInputElement || (target instanceof HTMLTextAreaElement && (event.ctrlKey || event.metaKey));
    if (!submits) return;
    event.preventDefault();
    saveEditor(editor);
  }
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (!(target instanceof HTMLElement)) return;
  if (target.matches("[data-chip]") && (key === "Delete" || key === "Backspace")) {
    event.preventDefault();
    target.click();
    return;
  }
  const editor = closest(target, ".edit-row", HTMLElement);
  if (editor) {
    onEditorKey(event, editor);
    return;
  }
  if (isTyping(event)) return;
  const heading = closest(target, "#runs-table th[data-column]", HTMLElement);
  if (!heading || !isMovable(heading)) return;
  if (key === "Enter" && event.shiftKey) {
    event.preventDefault();
    location.assign(get(heading, "a", HTMLElement).dataset.then ?? "");
  } else if (key === "<" || key === ">") {
    event.preventDefault();
    const column = heading.dataset.column ?? "";
    moveColumn(column, columnKeys().indexOf(column) + (key === "<" ? -1 : 1));
  }
});

// Editing a run -------------------------------------------------------------------------------------------------------

const focusEditLink = (/** @type {string | undefined} */ run) =>
  document.getElementById(`open-${run}`)?.focus({ preventScroll: true });

/** @param {HTMLElement} editor */
function closeEditor(editor) {
  const run = editor.dataset.edits;
  editor.remove();
  focusEditLink(run);
}

/** Open a row with an editor below a run, or close the one that is open. @param {HTMLAnchorElement} link */
async function toggleEditor(link) {
  const row = closest(link, "tr", HTMLElement);
  const run = row?.dataset.run ?? "";
  const open = query(document, `#edit-${run}`, HTMLElement);
  if (open) {
    closeEditor(open);
    return;
  }
  const response = await fetch(`/runs/${run}/edit${location.search}`);
  if (!response.ok) {
    location.assign(link.href);
    return;
  }
  for (const other of document.querySelectorAll(".edit-row")) other.remove();
  const template = document.createElement("template");
  template.innerHTML = await response.text();
  row?.after(template.content);
  query(document, `#edit-${run} input[name=name]`, HTMLInputElement)?.select();
}

/** Whether tags are separated by commas alone. Only the server parses quotes, around a tag that contains a comma. */
const isUnquoted = (/** @type {string} */ tags) => !tags.includes('"');

/**
 * @param {HTMLElement} editor
 * @param {string} name
 */
function fieldValue(editor, name) {
  const field = editor.querySelector(`[name=${name}]`);
  return field instanceof HTMLInputElement || field instanceof HTMLTextAreaElement ? field.value : "";
}

/** @param {HTMLElement} editor */
async function saveEditor(editor) {
  const button = get(editor, "button", HTMLButtonElement);
  if (!isUnquoted(fieldValue(editor, "tags"))) {
    button.click();
    return;
  }
  const tags = fieldValue(editor, "tags").split(",");
  button.disabled = true;
  const response = await fetch(`/api/v1/runs/${editor.dataset.edits}`, {
    method: "PATCH",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      name: fieldValue(editor, "name"),
      notes: fieldValue(editor, "notes"),
      tags: [...new Set(tags.map((tag) => tag.trim()).filter(Boolean))],
    }),
  });
  button.disabled = false;
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: "The server is not responding." }));
    button.setCustomValidity(problem.detail);
    button.reportValidity();
    button.setCustomValidity("");
    return;
  }
  const run = editor.dataset.edits;
  await window.htmx.ajax("get", location.pathname + location.search, { target: "#runs-list", swap: "innerHTML" });
  focusEditLink(run);
}

document.addEventListener("click", (event) => {
  const editor = closest(event.target, ".edit-row", HTMLElement);
  const link = closest(event.target, "a[data-edit]", HTMLAnchorElement);
  if (link && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    toggleEditor(link);
  } else if (editor && closest(event.target, "[data-close]", Element)) {
    event.preventDefault();
    closeEditor(editor);
  } else if (editor && closest(event.target, "button", Element) && isUnquoted(fieldValue(editor, "tags"))) {
    event.preventDefault();
    saveEditor(editor);
  }
});

// Groups and menus ----------------------------------------------------------------------------------------------------

// Open groups stay open when the table is reloaded.
/** @type {Set<string | undefined>} */
let openGroups = new Set();
document.addEventListener("htmx:beforeSwap", () => {
  const open = queryAll(document, "#runs-table details[open]", HTMLElement);
  openGroups = new Set(open.map((group) => group.dataset.of));
});
document.addEventListener("htmx:afterSwap", () => {
  for (const group of queryAll(document, "#runs-table details[data-of]", HTMLElement)) {
    group.toggleAttribute("open", openGroups.has(group.dataset.of));
  }
});

// A menu that opens focuses its first field.
document.addEventListener("click", (event) => {
  const menu = closest(event.target, ".tools summary", HTMLElement)?.parentElement;
  if (!(menu instanceof HTMLDetailsElement) || menu.open) return;
  const field = query(menu, "input:not([type=hidden])", HTMLInputElement);
  if (!field) return;
  event.preventDefault();
  menu.open = true;
  field.focus();
  field.select();
});

// Menus close on Escape and on a click elsewhere.
const openMenus = () => document.querySelectorAll(".tools .pop[open]");
document.addEventListener("click", ({ target }) => {
  for (const menu of openMenus()) if (target instanceof Node && !menu.contains(target)) menu.removeAttribute("open");
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.removeAttribute("open");
    menu.querySelector("summary")?.focus();
  }
});
