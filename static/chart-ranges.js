/** The extent of chart axes, as uPlot asks for it. No DOM here. */

/** @import uPlot from "uplot" */

const FINE_INCREMENTS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const WHOLE_INCREMENTS = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

/**
 * Distances between ticks of steps and epochs: whole numbers, unless fewer than three of them are visible. Smaller ones
 * than numbers of this size can differ by are left out: uPlot would add them forever.
 * @param {unknown} _plot
 * @param {number} _axisIndex
 * @param {number} low
 * @param {number} high
 */
export function stepIncrements(_plot, _axisIndex, low, high) {
  const smallest = 8 * Number.EPSILON * Math.max(Math.abs(low), Math.abs(high));
  return (high - low < 3 ? FINE_INCREMENTS : WHOLE_INCREMENTS).filter((increment) => increment > smallest);
}

/**
 * The largest value that is possible in a chart in percent.
 * @param {{unit: string, title: string}} chart
 */
export function ceilingOf({ unit, title }) {
  if (unit === "percent") return 1;
  return title.endsWith(", %") ? 100 : Infinity;
}

/**
 * A y range with a margin of 5%, but neither below zero nor above the ceiling if no value is; like the server's
 * drawing of the same chart.
 * @param {number | null} low
 * @param {number | null} high
 * @param {number} [ceiling]
 * @returns {[number, number]}
 */
export function paddedRange(low, high, ceiling = Infinity) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
  return [
    low >= 0 ? Math.max(0, low - margin) : low - margin,
    high <= ceiling ? Math.min(ceiling, high + margin) : high + margin,
  ];
}

const OUTLIER_SHARE = 0.02;
const MIN_CLIPPED_VALUES = 20;

/**
 * A y range without the outermost 2% of the visible values at each end, so that a spike does not flatten the rest.
 * @param {Pick<uPlot, "scales" | "series" | "data">} plot
 * @param {number | null} low
 * @param {number | null} high
 * @param {number} [ceiling]
 */
export function clippedRange(plot, low, high, ceiling = Infinity) {
  const { min, max } = plot.scales.x;
  const [from, to] = [min ?? -Infinity, max ?? Infinity];
  /** @type {number[]} */
  const visible = [];
  for (let i = 1; i < plot.data.length; i++) {
    const { kind } = plot.series[i];
    if (kind !== "smooth" && kind !== "plain") continue;
    const [xs, values] = [plot.data[0], plot.data[i]];
    for (let j = 0; j < values.length; j++) {
      const value = values[j];
      if (value !== null && value !== undefined && xs[j] >= from && xs[j] <= to) visible.push(value);
    }
  }
  if (visible.length < MIN_CLIPPED_VALUES) return paddedRange(low, high, ceiling);
  visible.sort((a, b) => a - b);
  const cut = Math.floor(visible.length * OUTLIER_SHARE);
  return paddedRange(visible[cut], visible[visible.length - 1 - cut], ceiling);
}

/**
 * The x range that covers the start and the end of every curve. Steps and epochs begin at 0, but not steps that are times.
 * @param {number[][]} curves the first two x values and the last one of each
 * @param {string} axis
 * @param {boolean} logarithmic whether only positive values have a position
 * @returns {[number, number]}
 */
export function fullRange(curves, axis, logarithmic) {
  let [low, high] = [Infinity, -Infinity];
  for (const xs of curves) {
    low = Math.min(low, ...(logarithmic ? xs.filter((x) => x > 0) : xs));
    high = Math.max(high, xs[xs.length - 1]);
  }
  if (logarithmic) return high > low ? [low, high] : [0.1, 1];
  if (axis === "step" || axis === "epoch") low = Math.min(low, 0);
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

/**
 * Parse the URL's zoom: "low,high", or "last,width" for a zoom that follows the end of the curves.
 * @param {string | null} text
 * @returns {{zoom: [number, number] | null, followsEnd: boolean}}
 */
export function parseZoom(text) {
  const words = text?.split(",") ?? [];
  const followsEnd = words[0] === "last";
  const [low, high] = words.map((word) => (word === "last" ? 0 : Number(word)));
  return { zoom: low < high ? [low, high] : null, followsEnd };
}

/**
 * The zoom as the URL keeps it. A zoom that follows the end keeps its width, whenever the URL is opened.
 * @param {[number, number]} zoom
 * @param {boolean} followsEnd
 * @param {string} axis
 */
export function formatZoom([low, high], followsEnd, axis) {
  // Six digits of the width, and wall-clock time needs 13 for milliseconds.
  const more = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / (high - low)));
  const digits = axis === "clock" ? 13 : Math.min(17, 6 + Math.max(0, more));
  const short = (/** @type {number} */ value) => Number(value.toPrecision(digits));
  return followsEnd ? `last,${short(high - low)}` : `${short(low)},${short(high)}`;
}
