/** Highlights a curve on every chart while its legend entry is hovered or focused. */

import { ownerOf } from "./curves.js";
import { closest, query } from "./dom.js";

/** @param {import("./chart.js").Chart} chart */
export function highlightFromLegend(chart) {
  const legend = query(chart.box, ".keys", HTMLElement);
  if (!legend) return;
  const start = (/** @type {Event} */ { target }) => {
    chart.board.highlight(closest(target, "[data-series]", HTMLElement)?.dataset.series ?? "");
  };
  for (const type of ["pointerover", "focusin"]) legend.addEventListener(type, start);
  for (const type of ["pointerleave", "focusout"]) legend.addEventListener(type, () => chart.board.highlight(""));
}

/**
 * Whether a curve keeps its full opacity: the highlighted curve, all curves of its run, and every curve of a chart that
 * has none of them.
 * @param {string} id
 * @param {string} highlighted
 * @param {readonly {id: string}[]} series of the chart
 */
export function isHighlighted(id, highlighted, series) {
  const owner = ownerOf(highlighted);
  const matches = (/** @type {string} */ other) => other === highlighted || (owner !== "" && ownerOf(other) === owner);
  return matches(id) || !series.some((each) => matches(each.id));
}
