/**
 * The points of a curve as a page holds them: every point, or a thinned-out overview plus finer points of the visible
 * part. No DOM here.
 *
 * @typedef {{step: number[], value: (number | null)[], time: number[], exact?: string[]}} Trace `value` is null where the
 *   metric was NaN; `exact`: the steps as text, if a number cannot hold one of them
 * @typedef {{low?: (number | null)[], high?: (number | null)[]}} Band the confidence interval around each point of a mean
 * @typedef {{total: number, share: number}} AverageState of an exponential moving average: weighted sum and sum of weights
 * @typedef {Trace & Band & AverageState} SmoothedTrace with the state of its average at its end
 * @typedef {object} PartFields
 * @property {number} first step
 * @property {number} last step
 * @property {boolean} [coarse] whether the part itself is thinned out
 * @property {SmoothedTrace} [even] the smoothed part
 * @property {number} weight of the smoothing
 * @typedef {Trace & PartFields} Part finer points of an interval of steps
 * @typedef {object} CurveFields
 * @property {number | null} per_epoch steps per epoch
 * @property {number} [unit] how many steps make up 1 on the axis of steps; 1 if it is missing
 * @property {[number, number][]} stretches intervals of training: [when it began, seconds trained before it]
 * @property {boolean} [coarse] whether the points are thinned out
 * @property {SmoothedTrace} [even] the smoothed curve, made from all points
 * @property {number} [weight] of the smoothing in `even`
 * @property {Part} [part]
 * @typedef {Trace & Band & CurveFields} Curve
 */

/** A curve with more points than this is thinned out to THINNED_POINTS. */
const MAX_POINTS = 20_000;
const THINNED_POINTS = 5_000;

/** Points that were reported together share one time. They are drawn this far apart: a curve has one point per x. */
const TIE_SECONDS = 1e-6;

/** The bias-corrected exponential moving average; nulls are skipped. */
export function exponentialAverage(/** @type {(number | null)[]} */ values, /** @type {number} */ weight) {
  return continueAverage(values, weight, { total: 0, share: 0 });
}

/**
 * The same, continued from the state of an average. Updates the state.
 * @param {(number | null)[]} values
 * @param {number} weight
 * @param {AverageState} state
 */
function continueAverage(values, weight, state) {
  return values.map((value) => {
    if (value === null) return null;
    state.total = state.total * weight + (1 - weight) * value;
    state.share = state.share * weight + (1 - weight);
    return state.total / state.share;
  });
}

/**
 * @param {Trace} trace
 * @param {Trace} more
 */
function pushPoints(trace, more) {
  for (let i = 0; i < more.step.length; i++) {
    trace.step.push(more.step[i]);
    trace.value.push(more.value[i]);
    trace.time.push(more.time[i]);
  }
}

/**
 * Append points to a curve. A curve that becomes too long is thinned out, after its smoothed trace was made from all
 * of its points.
 * @param {Curve} curve
 * @param {Trace} more
 * @param {number} weight of the smoothing
 */
export function appendPoints(curve, more, weight) {
  if (runsBackwards(curve, more)) {
    Object.assign(curve, mergePoints(curve, more));
    return;
  }
  if (curve.even)
    pushPoints(curve.even, { ...more, value: continueAverage(more.value, curve.weight ?? 0, curve.even) });
  pushPoints(curve, more);
  // The points of a mean of several runs are never thinned out.
  if (curve.step.length <= MAX_POINTS || curve.low) return;
  if (!curve.even && !curve.coarse && weight > 0) {
    const state = { total: 0, share: 0 };
    const value = continueAverage(curve.value, weight, state);
    curve.even = { step: curve.step, time: curve.time, value, ...state };
    curve.weight = weight;
  }
  if (curve.even) Object.assign(curve.even, downsample(curve.even));
  Object.assign(curve, downsample(curve), { coarse: true });
}

/** Whether some points precede the last one of a curve: a script may log its steps in any order. */
function runsBackwards(/** @type {Trace} */ curve, /** @type {Trace} */ more) {
  return more.step[0] < curve.step[curve.step.length - 1];
}

/** Whether points can join a curve: a thinned-out one must be loaded again if some of them precede its last point. */
export function canAppend(/** @type {Curve} */ curve, /** @type {Trace} */ more) {
  return !curve.coarse || !runsBackwards(curve, more);
}

/**
 * The points of two traces by step; of one step, those of the first trace come first.
 * @param {Trace} one
 * @param {Trace} other
 * @returns {Trace}
 */
function mergePoints(one, other) {
  /** @type {Trace} */
  const result = { step: [], value: [], time: [] };
  let i = 0;
  for (let j = 0; j < other.step.length; j++) {
    const end = upperBound(one.step, other.step[j]);
    for (; i < end; i++) pushPoints(result, pointAt(one, i));
    pushPoints(result, pointAt(other, j));
  }
  for (; i < one.step.length; i++) pushPoints(result, pointAt(one, i));
  return result;
}

/** @returns {Trace} */
function pointAt(/** @type {Trace} */ { step, value, time }, /** @type {number} */ i) {
  return { step: [step[i]], value: [value[i]], time: [time[i]] };
}

/** The lowest and the highest point of each of THINNED_POINTS / 2 buckets, in order. */
function downsample(/** @type {Trace} */ { step, value, time }) {
  /** @type {Trace} */
  const result = { step: [], value: [], time: [] };
  const bucket = (2 * step.length) / THINNED_POINTS;
  for (let n = 0; n < THINNED_POINTS / 2; n++) {
    const [from, to] = [Math.floor(n * bucket), Math.min(step.length, Math.floor((n + 1) * bucket))];
    let [low, high] = [from, from];
    for (let i = from; i < to; i++) {
      const current = value[i];
      if (current === null) continue;
      const [lowest, highest] = [value[low], value[high]];
      if (lowest === null || current < lowest) low = i;
      if (highest === null || current > highest) high = i;
    }
    for (const i of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) {
      pushPoints(result, pointAt({ step, value, time }, i));
    }
  }
  return result;
}

/**
 * The first index of a sorted list whose value, or whose value after an order-preserving `map`, is at least `value`.
 * @param {number[]} sorted
 * @param {number} value
 * @param {(item: number) => number} [map]
 */
export function lowerBound(sorted, value, map = (item) => item) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (map(sorted[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first index of a sorted list whose value is above `value`. */
function upperBound(/** @type {number[]} */ sorted, /** @type {number} */ value) {
  let index = lowerBound(sorted, value);
  while (sorted[index] === value) index++;
  return index;
}

/**
 * A trace in which finer points replace those from step `first` to step `last`.
 * @param {Trace} trace
 * @param {Trace} fine
 * @param {number} first
 * @param {number} last
 * @returns {Trace}
 */
function spliceTrace(trace, fine, first, last) {
  const [from, to] = [lowerBound(trace.step, first), upperBound(trace.step, last)];
  return {
    step: [...trace.step.slice(0, from), ...fine.step, ...trace.step.slice(to)],
    value: [...trace.value.slice(0, from), ...fine.value, ...trace.value.slice(to)],
    time: [...trace.time.slice(0, from), ...fine.time, ...trace.time.slice(to)],
  };
}

/**
 * The unsmoothed points to draw: the curve's own, with finer ones where they are loaded.
 * @param {Curve} curve
 * @returns {Trace}
 */
export function rawTrace(curve) {
  return curve.part ? spliceTrace(curve, curve.part, curve.part.first, curve.part.last) : curve;
}

/**
 * The smoothed points to draw; null if they would need points that are not loaded.
 * @param {Curve} curve
 * @param {number} weight
 * @returns {(Trace & Band) | null}
 */
export function smoothedTrace(curve, weight) {
  if (!curve.coarse) return { ...curve, value: exponentialAverage(curve.value, weight) };
  const { part, even } = curve;
  if (!even || curve.weight !== weight) return null;
  if (!part || (part.coarse && (!part.even || part.weight !== weight))) return even;
  return spliceTrace(even, part.even ?? smoothPart(even, part, weight), part.first, part.last);
}

/**
 * Smooth a part that has all of its points, starting from the average of the whole curve just before it.
 * @param {SmoothedTrace} even
 * @param {Part} part
 * @param {number} weight
 * @returns {Trace}
 */
function smoothPart(even, part, weight) {
  const index = lowerBound(even.step, part.first) - 1;
  const before = index >= 0 ? even.value[index] : null;
  const state = before === null ? { total: 0, share: 0 } : { total: before, share: 1 };
  return { step: part.step, time: part.time, value: continueAverage(part.value, weight, state) };
}

/** The run or group of runs that a curve id names; "" if the curve belongs to the page's own run. */
export function ownerOf(/** @type {string} */ id) {
  return /^(r_\w+|earlier|g\d+):/.exec(id)?.[1] ?? "";
}

/** Whether an x axis is in seconds: since the start of each run ("time"), or wall-clock time ("clock"). */
export function isTimeAxis(/** @type {string} */ axis) {
  return axis === "time" || axis === "clock";
}

/** Whether a curve can be drawn over an x axis: the mean of several runs has no wall-clock time. */
export function hasAxis(/** @type {Curve} */ curve, /** @type {string} */ axis) {
  return axis !== "clock" || curve.stretches[0]?.[0] !== 0;
}

/**
 * The x of an instant on a time axis: wall-clock time, or seconds trained until then. A pause between two intervals of
 * training has no width: its instants get the start of the later interval.
 * @param {Curve} curve
 * @param {string} axis
 * @param {number} time
 */
export function timeToX(curve, axis, time) {
  if (axis === "clock") return time;
  const { stretches } = curve;
  if (!stretches.length) return time - (curve.time[0] ?? time);
  let i = stretches.length - 1;
  while (i > 0 && stretches[i][0] > time) i--;
  const [began, trainedBefore] = stretches[i];
  return Math.min(trainedBefore + time - began, stretches[i + 1]?.[1] ?? Infinity);
}

/**
 * The x value of every point of a trace.
 * @param {Trace} trace
 * @param {Curve} curve to which the trace belongs
 * @param {string} axis
 */
export function xValues(trace, curve, axis) {
  const { per_epoch } = curve;
  if (axis === "epoch" && per_epoch) return trace.step.map((step) => step / per_epoch);
  if (isTimeAxis(axis)) {
    let [previous, ties] = [NaN, 0];
    return trace.time.map((time) => {
      ties = time === previous ? ties + 1 : 0;
      previous = time;
      return timeToX(curve, axis, time) + ties * TIE_SECONDS;
    });
  }
  const { unit = 1 } = curve;
  return unit === 1 ? trace.step : trace.step.map((step) => step / unit);
}

/**
 * The x of a step. On a time axis it is the x of the curve's first point at or after the step, or null if there is none.
 * @param {Curve} curve
 * @param {string} axis
 * @param {number} step
 */
export function stepToX(curve, axis, step) {
  if (axis === "epoch") return curve.per_epoch ? step / curve.per_epoch : null;
  if (!isTimeAxis(axis)) return step / (curve.unit ?? 1);
  const index = lowerBound(curve.step, step);
  return hasAxis(curve, axis) && index < curve.step.length ? timeToX(curve, axis, curve.time[index]) : null;
}

/**
 * The first and the last step of a curve within a range of the x axis.
 * @param {Curve} curve
 * @param {string} axis
 * @param {[number, number]} range
 */
export function stepRange(curve, axis, [low, high]) {
  if (axis === "epoch" && curve.per_epoch) {
    return [Math.floor(low * curve.per_epoch), Math.ceil(high * curve.per_epoch)];
  }
  const { unit = 1 } = curve;
  if (!isTimeAxis(axis)) return [Math.floor(low * unit), Math.ceil(high * unit)];
  const toX = (/** @type {number} */ time) => timeToX(curve, axis, time);
  const [from, to] = [lowerBound(curve.time, low, toX) - 1, lowerBound(curve.time, high, toX)];
  return [curve.step[Math.max(0, from)] ?? 0, curve.step[Math.min(curve.step.length - 1, to)] ?? 0];
}

/**
 * Whether the server has finer points of these steps than those that are loaded.
 * @param {Curve} curve
 * @param {number} first step
 * @param {number} last step
 * @param {number} weight of the smoothing; 0 for a curve that is not smoothed
 */
export function needsFinerPoints(curve, first, last, weight) {
  // A mean has no finer points: each of its points averages several runs.
  if (!curve.coarse || curve.low || !curve.step.length) return false;
  const [from, to] = [Math.max(first, curve.step[0]), Math.min(last, curve.step[curve.step.length - 1])];
  if (to <= from) return false;
  const { part } = curve;
  if (!part || from < part.first || to > part.last) return true;
  return part.coarse === true && ((to - from) * 2 < part.last - part.first || (weight > 0 && part.weight !== weight));
}
