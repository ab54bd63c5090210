/** The arithmetic of brushes on parallel coordinates. Heights are percentages from the top of an axis. No DOM here. */

/** @typedef {[number, number]} Brush the selected part of an axis: top and bottom */

/** How far a key moves a brush is half of this. */
export const KEY_BRUSH_PERCENT = 20;
/** A drag that is shorter than this selects nothing. */
export const MIN_BRUSH_PERCENT = 2;

/**
 * Whether a line passes through the brush of every axis that has one.
 * @param {string[]} heights of the line at each axis; "" where it has no value
 * @param {(Brush | undefined)[]} brushes of each axis
 */
export function passesBrushes(heights, brushes) {
  return brushes.every((brush, i) => {
    if (!brush) return true;
    const height = Number(heights[i]);
    return heights[i] !== "" && height >= brush[0] && height <= brush[1];
  });
}

/**
 * The brush after an arrow key: half a length further, or at the end that the arrow points to if there was none.
 * @param {Brush | undefined} brush
 * @param {"ArrowUp" | "ArrowDown"} key
 * @returns {Brush}
 */
export function brushAfterKey(brush, key) {
  const lowest = 100 - KEY_BRUSH_PERCENT;
  const step = key === "ArrowDown" ? KEY_BRUSH_PERCENT / 2 : -KEY_BRUSH_PERCENT / 2;
  const top = brush ? brush[0] + step : key === "ArrowUp" ? 0 : lowest;
  const from = Math.max(0, Math.min(lowest, top));
  return [from, from + KEY_BRUSH_PERCENT];
}

/** The height of a pointer within a box, limited to the box. */
export function percentWithin(/** @type {number} */ y, /** @type {{top: number, height: number}} */ { top, height }) {
  return Math.max(0, Math.min(100, (100 * (y - top)) / height));
}
