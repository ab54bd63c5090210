/** A curve that is pointed at, or reached by Tab, in a legend stands out on every chart: the others fade. */

import { ownerOf } from "./curves.js";

/** @param {import("./chart.js").Chart} chart */
export function lightUp(chart) {
  const keys = /** @type {HTMLElement | null} */ (chart.box.querySelector(".keys"));
  if (!keys) return;
  const light = (/** @type {Event} */ { target }) => {
    const key = target instanceof Element ? target.closest("[data-series]") : null;
    chart.board.light(/** @type {HTMLElement | null} */ (key)?.dataset.series ?? "");
  };
  for (const kind of ["pointerover", "focusin"]) keys.addEventListener(kind, light);
  for (const kind of ["pointerleave", "focusout"]) keys.addEventListener(kind, () => chart.board.light(""));
}

/**
 * Whether a curve is drawn in full: the one that is lit and all of its run, and every one of a chart that has none of them.
 * @param {string} id
 * @param {string} lit
 * @param {import("./chart.js").Definition} definition
 */
export function isLit(id, lit, definition) {
  const owner = ownerOf(lit);
  const belongs = (/** @type {string} */ each) => each === lit || (owner !== "" && ownerOf(each) === owner);
  return belongs(id) || !definition.series.some((series) => belongs(series.id));
}
