/**
 * Steps on the x axis. They have 64 bits, a number in JavaScript is exact up to 2^53, and uPlot labels axes of up to 17
 * digits: larger steps are drawn in millions, which moves a point by less than a pixel, and keep their exact text. No DOM
 * here.
 */

const LARGE_UNIT = 1e6;
const [EARLIEST_MILLISECONDS, LATEST_MILLISECONDS] = [1e12, 4_102_444_800_000];
const [MIN_STEP, MAX_STEP] = [-(2n ** 63n), 2n ** 63n - 1n];
const SUFFIXES = /** @type {[number, string][]} */ ([
  [1e18, "E"],
  [1e15, "P"],
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
]);

/** How many steps make up 1 on the axis. @param {number[]} steps the first and the last of each curve */
export function stepUnit(steps) {
  return steps.every((step) => Number.isSafeInteger(step)) ? 1 : LARGE_UNIT;
}

/**
 * Whether all steps are times since 1970, as most tools write them: in milliseconds, or in nanoseconds, of which a million
 * make up 1 on the axis. They are between September 2001 and 2100.
 * @param {number[]} xs the positions of the first and the last step of each curve
 */
export function areMilliseconds(xs) {
  return xs.length > 0 && xs.every((x) => x >= EARLIEST_MILLISECONDS && x < LATEST_MILLISECONDS);
}

/**
 * The exact steps of the points at positions where numbers are not exact.
 * @type {Map<number, string>}
 */
const exactSteps = new Map();

/** Remember the exact steps of a trace, if the server sent them. */
export function rememberSteps(/** @type {{step: number[], exact?: string[]}} */ { step, exact }) {
  exact?.forEach((text, i) => {
    exactSteps.set(step[i] / LARGE_UNIT, text);
  });
}

/** The step at a position of the axis, exact at each point. */
export function stepAt(/** @type {number} */ x, /** @type {number} */ unit) {
  const text = unit === LARGE_UNIT ? exactSteps.get(x) : undefined;
  return text === undefined ? BigInt(Math.round(x * unit)) : BigInt(text);
}

/** A step as a parameter of a request: within 64 bits. */
export function stepParameter(/** @type {number} */ step) {
  const whole = BigInt(Math.round(step));
  return String(whole < MIN_STEP ? MIN_STEP : whole > MAX_STEP ? MAX_STEP : whole);
}

/** A step with thousands separators and a real minus. */
export function formatStep(/** @type {bigint} */ step) {
  return step.toLocaleString("en").replace("-", "−");
}

/**
 * A tick label, as precise as the distance between ticks requires: 12.5k, 1.0002G.
 * @param {number} step
 * @param {number} distance between ticks, in steps
 */
export function formatStepTick(step, distance) {
  const [unit, suffix] = (Math.abs(step) >= 1e4 && SUFFIXES.find(([unit]) => Math.abs(step) >= unit)) || [1, ""];
  const digits = distance > 0 ? Math.min(15, Math.max(0, Math.ceil(Math.log10(unit / distance)))) : 15;
  return `${Number((step / unit).toFixed(digits))}${suffix}`.replace("-", "−");
}
