/** How charts format values, differences, x positions and tick labels. No DOM here. */

import { formatStep, formatStepTick, stepAt } from "./step-axis.js";

/**
 * @param {number | null | undefined} value
 * @param {string} unit
 */
export function formatValue(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${(100 * value).toFixed(2)}%`;
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5))
    return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** A difference with its sign; that of two percentages is in percentage points, without "%". */
export function formatDelta(/** @type {number} */ value, /** @type {string} */ unit) {
  const sign = value > 0 ? "+" : value < 0 ? "−" : "±";
  return sign + (unit === "percent" ? (100 * Math.abs(value)).toFixed(2) : formatValue(Math.abs(value), unit));
}

/**
 * A duration in its two largest units, as the server writes it.
 * @param {number} seconds
 */
function formatDuration(seconds) {
  if (seconds < 10) return `${Number(seconds.toPrecision(3))} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [unit, name, smaller, smallerName] = whole < 3600 ? [60, "min", 1, "s"] : [3600, "h", 60, "min"];
  const rest = Math.floor((whole % unit) / smaller);
  return `${Math.floor(whole / unit)} ${name}${rest ? ` ${rest} ${smallerName}` : ""}`;
}

const TIME = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const CLOCKS = {
  day: new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" }),
  minute: new Intl.DateTimeFormat(undefined, TIME),
  second: new Intl.DateTimeFormat(undefined, { ...TIME, second: "2-digit" }),
  millisecond: new Intl.DateTimeFormat(undefined, { ...TIME, second: "2-digit", fractionalSecondDigits: 3 }),
};
const DAY_SECONDS = 86_400;

/**
 * A tick label of the clock axis, in the viewer's time zone, as precise as the distance between ticks requires.
 * @param {number} seconds since 1970
 * @param {number} distance between ticks, in seconds
 */
function formatClockTick(seconds, distance) {
  const date = new Date(seconds * 1000);
  if (distance >= DAY_SECONDS) return CLOCKS.day.format(date);
  // A tick at midnight names the day that begins.
  if (date.getHours() + date.getMinutes() + date.getSeconds() + date.getMilliseconds() === 0) {
    return CLOCKS.day.format(date);
  }
  const clock = distance >= 60 ? CLOCKS.minute : distance >= 1 ? CLOCKS.second : CLOCKS.millisecond;
  return clock.format(date);
}

/**
 * A position on the x axis.
 * @param {string} axis
 * @param {number} value
 * @param {number} [unit] of steps
 */
export function formatX(axis, value, unit = 1) {
  if (axis === "clock") return `${CLOCKS.day.format(value * 1000)} ${CLOCKS.second.format(value * 1000)}`;
  if (axis === "time") return formatDuration(value);
  if (axis === "epoch") return `epoch ${minus(Number(value.toPrecision(4)))}`;
  const step = `step ${formatStep(stepAt(value, unit))}`;
  return axis === "milliseconds" ? `${CLOCKS.day.format(value)} ${CLOCKS.millisecond.format(value)} · ${step}` : step;
}

const minus = (/** @type {number} */ value) => String(value).replace("-", "−");

/**
 * @param {string} axis
 * @param {number} value
 * @param {number} distance between ticks
 * @param {number} [unit] of steps
 */
export function formatXTick(axis, value, distance, unit = 1) {
  if (axis === "clock") return formatClockTick(value, distance);
  if (axis === "milliseconds") return formatClockTick(value / 1000, distance / 1000);
  if (axis === "time") return formatDuration(value);
  return axis === "step" ? formatStepTick(value * unit, distance * unit) : minus(value);
}

/** Scientific notation with two decimals at most. */
const formatExponent = (/** @type {number} */ value) =>
  value
    .toExponential()
    .replace("e+", "e")
    .replace(/(\.\d{2})\d+/, "$1");

/**
 * @param {string} unit
 * @param {number} value
 */
export function formatYTick(unit, value) {
  if (unit === "percent") return `${Number((100 * value).toPrecision(5))}%`;
  if (value && (Math.abs(value) < 1e-3 || unit === "power")) return formatExponent(value);
  if (Math.abs(value) >= 1e7) return formatExponent(value);
  if (Math.abs(value) >= 1e4) return `${Number((value / 1000).toPrecision(4))}k`;
  return String(Number(value.toPrecision(5)));
}

/**
 * The tick labels of a chart, as uPlot asks for them. uPlot passes null for ticks of a logarithmic axis without a label.
 * @param {string} axis
 * @param {string} unit of values
 * @param {number} [stepUnit]
 */
export function tickLabels(axis, unit, stepUnit = 1) {
  return {
    /**
     * @param {unknown} _plot
     * @param {(number | null)[]} values
     * @param {number} _axisIndex
     * @param {number} _space
     * @param {number} distance
     */
    x: (_plot, values, _axisIndex, _space, distance) =>
      values.map((value) => (value === null ? null : formatXTick(axis, value, distance, stepUnit))),
    /**
     * @param {unknown} _plot
     * @param {(number | null)[]} values
     */
    y: (_plot, values) => values.map((value) => (value === null ? null : formatYTick(unit, value))),
  };
}

/**
 * The ticks of a logarithmic axis that get a label; the others become null. These are the powers of ten; with fewer than two
 * of them in range, also twice and five times these; with fewer than two of those, all. uPlot's own filter labels powers of
 * ten only, and so nothing on an axis from 0.02 to 0.09.
 * @param {unknown} _plot
 * @param {number[]} ticks
 * @returns {(number | null)[]}
 */
export function labeledLogTicks(_plot, ticks) {
  const leading = ticks.map((tick) => Math.round(tick / 10 ** Math.floor(Math.log10(tick) + 1e-9)));
  for (const labeled of [[1], [1, 2, 5]]) {
    if (leading.filter((digit) => labeled.includes(digit)).length > 1) {
      return ticks.map((tick, i) => (labeled.includes(leading[i]) ? tick : null));
    }
  }
  return ticks;
}
