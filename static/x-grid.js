/**
 * Snaps the points of many curves to a shared grid on the x axis. uPlot joins all curves on the union of their x values:
 * fifty curves, each thinned out to its own x values, cost as much as one with all of their points. On a grid that is
 * finer than a pixel they share x values. No DOM here.
 *
 * @typedef {[number[], (number | null)[]]} Table the x values and the values of one curve
 * @typedef {{low: number, high: number, unit: number}} FineGrid the fine grid's spacing and where it applies
 */

/** Up to this many curves, or up to this many x values in all, every point keeps its exact x. */
const MAX_EXACT_CURVES = 12;
const GRID_CELLS = 2500;

/**
 * Move each point back to the grid line before it, unless another point of its curve is there; no point is dropped. The
 * fine grid covers the visible range and its width again on either side. Elsewhere the grid is that of the full range.
 * @param {Table[]} tables
 * @param {[number, number]} visible range
 * @param {[number, number]} full range
 * @param {boolean} integers whether x values are whole numbers
 * @returns {{tables: Table[], fine: FineGrid | null}}
 */
export function snapToGrid(tables, visible, full, integers) {
  if (tables.length <= MAX_EXACT_CURVES) return { tables, fine: null };
  const distinct = new Set();
  for (const [xs] of tables) for (const x of xs) distinct.add(x);
  if (distinct.size <= GRID_CELLS) return { tables, fine: null };
  const spacing = (/** @type {[number, number]} */ [low, high]) =>
    integers ? Math.max(1, Math.floor((high - low) / GRID_CELLS)) : (high - low) / GRID_CELLS;
  const width = visible[1] - visible[0];
  const fine = { low: visible[0] - width, high: visible[1] + width, unit: spacing(visible) };
  const coarseUnit = spacing(full);
  const snap = (/** @type {number[]} */ xs) => {
    let previous = -Infinity;
    return xs.map((x) => {
      const unit = x < fine.low || x > fine.high ? coarseUnit : fine.unit;
      const line = Math.min(x, Math.floor(x / unit) * unit);
      // Of several points of a curve in one cell, only the first moves.
      previous = line > previous ? line : x;
      return previous;
    });
  };
  return { tables: tables.map(([xs, values]) => [snap(xs), values]), fine };
}

/**
 * Whether the visible range needs a new grid: it extends beyond the fine part, or the fine part is too coarse for it.
 * @param {FineGrid | null} fine
 * @param {[number, number]} visible range
 * @param {boolean} integers
 */
export function needsNewGrid(fine, [low, high], integers) {
  if (!fine) return false;
  if (low < fine.low || high > fine.high) return true;
  return (!integers || fine.unit > 1) && (high - low) / GRID_CELLS < fine.unit / 2;
}
