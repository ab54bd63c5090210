/** The viewer's arrangement of a run's charts: collapsed groups and the order of groups and charts, kept by the browser. */

import { closest, query, queryAll } from "./dom.js";
import { orderByPosition } from "./reorder.js";

const STORAGE_KEY = "runyard-charts";

/** @typedef {{folded: string[], order: Record<string, string[]>, groups: string[]}} Layout */

/** @returns {Layout} */
function loadLayout() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "{}");
    return { folded: stored.folded ?? [], order: stored.order ?? {}, groups: stored.groups ?? [] };
  } catch {
    // A browser that blocks storage shows the default layout.
    return { folded: [], order: {}, groups: [] };
  }
}

/** @param {Layout} layout */
function saveLayout(layout) {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(layout));
  } catch {
    // A browser that blocks storage forgets the layout.
  }
}

const chartsOf = (/** @type {Element} */ group) => queryAll(group, "figure.chart", HTMLElement);
const groupsOf = (/** @type {Element} */ area) => queryAll(area, "details.chart-group", HTMLDetailsElement);
const nameOf = (/** @type {HTMLElement} */ group) => group.dataset.group ?? "";
/** The chart or the group that a handle moves. */
const movedBy = (/** @type {EventTarget} */ handle) =>
  closest(handle, "figure.chart, details.chart-group", HTMLElement);
/** The charts or the groups among which an element moves. @returns {HTMLElement[]} */
const siblingsOf = (/** @type {HTMLElement} */ element) => {
  const parent = element.parentElement;
  if (!parent) return [];
  return element.matches("figure") ? chartsOf(parent) : groupsOf(parent);
};

const KEYS = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 });

/**
 * Restore the layout of the groups in an area and remember its changes.
 * @param {HTMLElement} area
 */
export function arrange(area) {
  for (const group of groupsOf(area)) restore(group);
  area.addEventListener(
    "toggle",
    (event) => {
      const group = event.target;
      if (!(group instanceof HTMLDetailsElement) || !group.classList.contains("chart-group")) return;
      const layout = loadLayout();
      layout.folded = layout.folded.filter((name) => name !== nameOf(group));
      if (!group.open) layout.folded.push(nameOf(group));
      saveLayout(layout);
    },
    true,
  );
  area.addEventListener("chart-move", (event) => {
    if (event.target instanceof HTMLElement) moveBy(event.target, event.detail);
  });
  area.addEventListener("keydown", (event) => {
    const handle = event.target;
    if (!(handle instanceof HTMLElement) || !handle.matches(".chart-handle")) return;
    const moved = movedBy(handle);
    const places = KEYS[event.key];
    if (!places || !moved) return;
    event.preventDefault();
    moveBy(moved, places);
    handle.focus();
  });
  enableDragging(area);
}

/**
 * Restore the layout of a group and its charts.
 * @param {HTMLDetailsElement} group
 */
export function restore(group) {
  const { folded, order, groups } = loadLayout();
  group.open = !folded.includes(nameOf(group));
  const positions = order[nameOf(group)];
  const holder = group.querySelector(".charts");
  // Outside the summary: screen readers do not present a button inside it as a button.
  if (holder) addHandle(holder, `the ${group.querySelector("h2")?.textContent} group`);
  for (const box of chartsOf(group)) {
    const caption = box.querySelector("figcaption > :first-child");
    if (caption) addHandle(caption, box.querySelector("h2")?.textContent ?? "");
  }
  if (positions && holder) reorder(chartsOf(group), (box) => positions.indexOf(box.dataset.chart ?? ""));
  const area = group.parentElement;
  if (groups.length && area) reorder(groupsOf(area), (each) => groups.indexOf(nameOf(each)));
}

/**
 * Put siblings in the order of their positions.
 * @template {HTMLElement} T
 * @param {T[]} siblings
 * @param {(element: T) => number} positionOf
 */
function reorder(siblings, positionOf) {
  const ordered = orderByPosition(siblings, positionOf);
  if (ordered.every((element, i) => element === siblings[i])) return;
  const next = siblings[siblings.length - 1].nextSibling;
  for (const element of ordered) element.parentElement?.insertBefore(element, next);
}

/**
 * @param {Element} next which the handle precedes
 * @param {string} name
 */
function addHandle(next, name) {
  if (next.parentElement?.querySelector(":scope > .chart-handle")) return;
  const handle = document.createElement("button");
  handle.type = "button";
  handle.className = "chart-handle";
  handle.textContent = "⠿";
  handle.setAttribute("aria-label", `Move ${name}: drag, or use the arrow keys`);
  next.before(handle);
}

/** Save the order of an element and its siblings. */
function saveOrder(/** @type {HTMLElement} */ moved) {
  const layout = loadLayout();
  const group = closest(moved.parentElement, "details.chart-group", HTMLElement);
  if (group) layout.order[nameOf(group)] = chartsOf(group).map((box) => box.dataset.chart ?? "");
  else layout.groups = siblingsOf(moved).map(nameOf);
  saveLayout(layout);
}

/**
 * @param {HTMLElement} moved
 * @param {number} places
 */
function moveBy(moved, places) {
  const shown = siblingsOf(moved).filter((element) => !element.hidden);
  const other = shown[shown.indexOf(moved) + places];
  if (!other) return;
  if (places < 0) other.before(moved);
  else other.after(moved);
  saveOrder(moved);
}

/** Let the viewer drag a chart within its group, or a group, by its handle: with a mouse, a pen or a finger. */
function enableDragging(/** @type {HTMLElement} */ area) {
  /** @type {HTMLElement | null} */
  let moved = null;
  area.addEventListener("pointerdown", (event) => {
    const handle = closest(event.target, ".chart-handle", HTMLElement);
    if (!handle || event.button !== 0) return;
    moved = movedBy(handle);
    moved?.classList.add("moved");
    handle.setPointerCapture(event.pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (!moved) return;
    const isGroup = moved.matches("details");
    const selector = isGroup ? "details.chart-group" : "figure.chart";
    const below = closest(document.elementFromPoint(event.clientX, event.clientY), selector, HTMLElement);
    if (!below || below === moved || below.parentElement !== moved.parentElement) return;
    const box = below.getBoundingClientRect();
    const siblings = siblingsOf(moved);
    const forward = siblings.indexOf(moved) < siblings.indexOf(below);
    // Swap only past the middle: two elements of different sizes would otherwise swap back and forth. Groups are stacked;
    // charts are also side by side.
    const across = isGroup ? 0.5 : (event.clientX - box.left) / box.width;
    const progress = box.height > 0 ? across + (event.clientY - box.top) / box.height : 0;
    if (forward && progress > 0.7) below.after(moved);
    else if (!forward && progress < 1.3) below.before(moved);
  });
  const end = () => {
    if (!moved) return;
    moved.classList.remove("moved");
    saveOrder(moved);
    moved = null;
  };
  area.addEventListener("pointerup", end);
  area.addEventListener("pointercancel", end);
}

/**
 * Show only charts whose group, title and curves contain all words of the filter.
 * @param {HTMLElement} area
 * @param {HTMLInputElement | null} field
 */
export function enableFilter(area, field) {
  const empty = query(area, "#charts-none", HTMLElement);
  function filter() {
    const words = (field?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let anyGroup = false;
    for (const group of groupsOf(area)) {
      let anyChart = false;
      for (const box of chartsOf(group)) {
        const caption = box.querySelector("figcaption")?.textContent;
        const text = `${nameOf(group)} ${box.dataset.chart} ${caption}`.toLowerCase();
        box.hidden = !words.every((word) => text.includes(word));
        anyChart ||= !box.hidden;
      }
      group.hidden = !anyChart;
      anyGroup ||= anyChart;
    }
    if (empty) empty.hidden = anyGroup;
  }
  field?.addEventListener("input", filter);
  if (field?.value) filter();
}
