/** Reordering the rows of a list by dragging, with a mouse, a pen or a finger. */

import { closest, queryAll } from "./dom.js";

/** Within this distance from the window's edges the page scrolls, by SCROLL_PIXELS per frame. */
const EDGE_PIXELS = 60;
const SCROLL_PIXELS = 14;

/**
 * @typedef {{row: HTMLElement, middle: number, index: number}} OtherRow
 * @typedef {object} Drag
 * @property {HTMLElement} row
 * @property {OtherRow[]} others the rows that are not dragged
 * @property {number} from index of the row
 * @property {number} to index at which it would be dropped
 * @property {number} top of the row on the page when the drag began
 * @property {number} height
 * @property {number} startY of the pointer on the page
 * @property {number} y of the pointer in the window
 * @property {number} pointer
 * @property {number} frame
 */

/**
 * @param {HTMLElement} area that contains the list and stays while rows come and go
 * @param {string} rows selects the rows within it; each has one `[data-handle]`
 * @param {(row: HTMLElement, other: HTMLElement, before: boolean) => void} onDrop
 * @param {() => void} onEnd called after every drag, whether the row was dropped or not
 * @returns {() => boolean} whether a row is being dragged
 */
export function enableRowDragging(area, rows, onDrop, onEnd) {
  /** @type {Drag | null} */
  let drag = null;

  const containerOf = (/** @type {HTMLElement} */ row) => row.parentElement?.parentElement;

  function show() {
    if (!drag) return;
    const { from, height, others, row } = drag;
    const distance = drag.y + scrollY - drag.startY;
    row.style.transform = `translateY(${distance}px)`;
    const middle = drag.top + distance + height / 2;
    const to = others.filter((other) => other.middle < middle).length;
    drag.to = to;
    others.forEach((other, i) => {
      const shift = i >= to && other.index < from ? 1 : i < to && other.index > from ? -1 : 0;
      other.row.style.transform = shift ? `translateY(${shift * height}px)` : "";
    });
  }

  function scroll() {
    if (!drag) return;
    const pixels = drag.y < EDGE_PIXELS ? -SCROLL_PIXELS : drag.y > innerHeight - EDGE_PIXELS ? SCROLL_PIXELS : 0;
    if (pixels) {
      scrollBy(0, pixels);
      show();
    }
    drag.frame = requestAnimationFrame(scroll);
  }

  /** @param {boolean} dropped */
  function end(dropped) {
    if (!drag) return;
    const { row, others, from, to, frame } = drag;
    cancelAnimationFrame(frame);
    const container = containerOf(row);
    if (container) delete container.dataset.dragging;
    delete row.dataset.dragged;
    for (const element of [row, ...others.map((other) => other.row)]) element.style.transform = "";
    drag = null;
    if (dropped && to !== from) {
      const other = to > 0 ? others[to - 1].row : others[0].row;
      if (to > 0) other.after(row);
      else other.before(row);
      onDrop(row, other, to === 0);
    }
    onEnd();
  }

  area.addEventListener("pointerdown", (event) => {
    const handle = closest(event.target, "[data-handle]", HTMLElement);
    const row = closest(handle, rows, HTMLElement);
    if (!handle || !row || event.button !== 0 || drag) return;
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    const all = queryAll(area, rows, HTMLElement);
    const measured = all.map((each, index) => {
      const box = each.getBoundingClientRect();
      return { row: each, middle: box.top + scrollY + box.height / 2, index };
    });
    const box = row.getBoundingClientRect();
    const from = all.indexOf(row);
    drag = {
      row,
      others: measured.filter((each) => each.row !== row),
      from,
      to: from,
      top: box.top + scrollY,
      height: box.height,
      startY: event.clientY + scrollY,
      y: event.clientY,
      pointer: event.pointerId,
      frame: requestAnimationFrame(scroll),
    };
    row.dataset.dragged = "";
    const container = containerOf(row);
    if (container) container.dataset.dragging = "";
  });

  area.addEventListener("pointermove", (event) => {
    if (drag?.pointer !== event.pointerId) return;
    drag.y = event.clientY;
    show();
  });
  area.addEventListener("pointerup", (event) => {
    if (drag?.pointer === event.pointerId) end(true);
  });
  area.addEventListener("pointercancel", (event) => {
    if (drag?.pointer === event.pointerId) end(false);
  });
  document.addEventListener("keydown", (event) => {
    if (drag && event.key === "Escape") end(false);
  });

  return () => drag !== null;
}
