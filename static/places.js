/**
 * Many curves on few places. uPlot looks at every curve at the places of all: fifty that were thinned out, each to points
 * at places of its own, are as costly as one of all their points. Here they share places that lie closer than pixels.
 */

/** With so few lines, and at so few places, each point stands exactly where it is. */
const CROWD = 12;
const PLACES = 2500;

/**
 * @typedef {[number[], (number | null)[]]} Table
 * @typedef {{low: number, high: number, unit: number}} Fine where places are close, and how close
 */

/**
 * The same tables with each point moved back to the place before it, by less than a unit, where no other point of its curve
 * stands already; none is left out. Beyond what is in sight, and as much again on either side, the places are as of the
 * whole axis.
 * @param {Table[]} tables
 * @param {[number, number]} sight
 * @param {[number, number]} whole
 * @param {boolean} steps whether places are whole numbers
 * @returns {{tables: Table[], fine: Fine | null}}
 */
export function onPlaces(tables, sight, whole, steps) {
  if (tables.length <= CROWD) return { tables, fine: null };
  const there = new Set();
  for (const [xs] of tables) for (const x of xs) there.add(x);
  if (there.size <= PLACES) return { tables, fine: null };
  const unitOf = (/** @type {[number, number]} */ [low, high]) => (steps ? Math.max(1, Math.floor((high - low) / PLACES)) : (high - low) / PLACES);
  const wide = sight[1] - sight[0];
  const fine = { low: sight[0] - wide, high: sight[1] + wide, unit: unitOf(sight) };
  const coarse = unitOf(whole);
  const placed = (/** @type {number[]} */ xs) => {
    let before = -Infinity;
    return xs.map((x) => {
      const unit = x < fine.low || x > fine.high ? coarse : fine.unit;
      const place = Math.min(x, Math.floor(x / unit) * unit);
      // Where a curve's points are closer than places, all but the first stay where they are.
      before = place > before ? place : x;
      return before;
    });
  };
  return { tables: tables.map(([xs, values]) => [placed(xs), values]), fine };
}

/**
 * Whether what is in sight has to be placed anew: it reaches beyond the close places, or they are no longer close.
 * @param {Fine | null} fine
 * @param {[number, number]} sight
 * @param {boolean} steps
 */
export function wantsPlaces(fine, [low, high], steps) {
  if (!fine) return false;
  if (low < fine.low || high > fine.high) return true;
  return (!steps || fine.unit > 1) && (high - low) / PLACES < fine.unit / 2;
}
