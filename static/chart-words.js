/** How a chart writes its values and ticks, and how far its axes go. */

/**
 * @param {number | null | undefined} value
 * @param {string} unit
 */
export function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${(100 * value).toFixed(2)} %`;
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** A difference with its sign: of percentages in points. */
export function writtenDelta(/** @type {number} */ value, /** @type {string} */ unit) {
  const sign = value > 0 ? "+" : value < 0 ? "−" : "±";
  return sign + (unit === "percent" ? (100 * Math.abs(value)).toFixed(2) : written(Math.abs(value), unit));
}

/** @param {number} value */
function span(value) {
  if (value < 60) return `${Number(value.toPrecision(3))} s`;
  if (value < 3600) return value % 60 ? `${Math.floor(value / 60)}:${String(Math.round(value % 60)).padStart(2, "0")}` : `${value / 60} min`;
  return `${Number((value / 3600).toPrecision(3))} h`;
}

const TIME = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const CLOCKS = {
  day: new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" }),
  minute: new Intl.DateTimeFormat(undefined, TIME),
  second: new Intl.DateTimeFormat(undefined, { ...TIME, second: "2-digit" }),
};
const DAY_SECONDS = 86_400;

/**
 * An instant in the viewer's zone, as exactly as the ticks of an axis stand apart.
 * @param {number} seconds since 1970
 * @param {number} apart seconds
 */
function clock(seconds, apart) {
  const at = new Date(seconds * 1000);
  if (apart >= DAY_SECONDS) return CLOCKS.day.format(at);
  // Midnight says of which day it is.
  if (at.getHours() + at.getMinutes() + at.getSeconds() === 0) return CLOCKS.day.format(at);
  return (apart >= 60 ? CLOCKS.minute : CLOCKS.second).format(at);
}

/**
 * @param {string} axis
 * @param {number} value
 */
export function writtenX(axis, value) {
  if (axis === "clock") return `${CLOCKS.day.format(value * 1000)} ${CLOCKS.second.format(value * 1000)}`;
  if (axis === "time") return span(value);
  return axis === "epoch" ? `epoch ${Number(value.toPrecision(4))}` : `step ${Math.round(value).toLocaleString("en")}`;
}

/**
 * @param {string} axis
 * @param {string} unit
 */
export function ticks(axis, unit) {
  return {
    x: (/** @type {unknown} */ _, /** @type {(number | null)[]} */ values, /** @type {number} */ __, /** @type {number} */ ___, /** @type {number} */ apart) =>
      // Of the ticks of a logarithmic axis, those that are not to be named are null.
      values.map((value) => (value === null ? null : axis === "clock" ? clock(value, apart) : axis === "time" ? span(value) : axis === "step" && value >= 1e4 ? `${value / 1000}k` : String(value))),
    y: (/** @type {unknown} */ _, /** @type {(number | null)[]} */ values) =>
      values.map((value) => {
        if (value === null) return null;
        if (unit === "percent") return `${Number((100 * value).toPrecision(5))} %`;
        if (value && (Math.abs(value) < 1e-3 || unit === "power")) return value.toExponential().replace("e+", "e").replace(/(\.\d{2})\d+/, "$1");
        if (Math.abs(value) >= 1e7) return value.toExponential().replace("e+", "e").replace(/(\.\d{2})\d+/, "$1");
        if (Math.abs(value) >= 1e4) return `${Number((value / 1000).toPrecision(4))}k`;
        return String(Number(value.toPrecision(5)));
      }),
  };
}

const FINE = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

/** Ticks of steps and epochs stand at whole numbers, unless less than three of them are in sight. */
export function wholeIncrements(/** @type {unknown} */ _, /** @type {number} */ __, /** @type {number} */ low, /** @type {number} */ high) {
  return high - low < 3 ? FINE : WHOLE;
}

/** The y axis ends a little above and below what is drawn, as it does in the server's picture. */
export function closeRange(/** @type {unknown} */ _, /** @type {number | null} */ low, /** @type {number | null} */ high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
  return [low - margin, high + margin];
}

const CLIPPED_SHARE = 0.02;

/**
 * The range without the outermost values in sight: one spike does not flatten all the rest.
 * @param {any} u
 * @param {number | null} low
 * @param {number | null} high
 */
export function clippedRange(u, low, high) {
  const { min, max } = u.scales.x;
  const [from, to] = [min ?? -Infinity, max ?? Infinity];
  /** @type {number[]} */
  const seen = [];
  for (let i = 1; i < u.data.length; i++) {
    if (!["smooth", "plain"].includes(u.series[i].kind)) continue;
    for (let j = 0; j < u.data[i].length; j++) {
      const value = u.data[i][j];
      if (value !== null && value !== undefined && u.data[0][j] >= from && u.data[0][j] <= to) seen.push(value);
    }
  }
  if (seen.length < 20) return closeRange(u, low, high);
  seen.sort((one, other) => one - other);
  const cut = Math.floor(seen.length * CLIPPED_SHARE);
  return closeRange(u, seen[cut], seen[seen.length - 1 - cut]);
}
