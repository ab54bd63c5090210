/**
 * The points of a curve as a page holds them: all of them, or few of a long one with finer ones of the part in sight.
 *
 * @typedef {{step: number[], value: (number | null)[], time: number[]}} Trace
 * @typedef {{low?: (number | null)[], high?: (number | null)[]}} Band the interval around each point of a mean
 * @typedef {Trace & Band & {total: number, share: number}} Even a smoothed trace, and where its average stands at its end
 * @typedef {Trace & {first: number, last: number, coarse?: boolean, even?: Even, weight: number}} Part
 * @typedef {Trace & Band & {per_epoch: number | null, stretches: [number, number][], coarse?: boolean, even?: Even, weight?: number, part?: Part}} Points
 */

/** So many points of one curve are held before it is thinned out; then so many are left. */
const MOST = 20_000;
const LEFT = 5_000;

/** Points that were reported together have one time; so far apart they are drawn, because an x has one point of a curve. */
const TIE_SECONDS = 1e-6;

/** Exponential moving average without the pull towards its start; nulls are passed over. */
export function smoothed(/** @type {(number | null)[]} */ values, /** @type {number} */ weight) {
  return averaged(values, weight, { total: 0, share: 0 });
}

/**
 * The same from where an average stands; it stands at the end afterwards.
 * @param {(number | null)[]} values
 * @param {number} weight
 * @param {{total: number, share: number}} from
 */
function averaged(values, weight, from) {
  return values.map((value) => {
    if (value === null) return null;
    from.total = from.total * weight + (1 - weight) * value;
    from.share = from.share * weight + (1 - weight);
    return from.total / from.share;
  });
}

/**
 * @param {Trace} to
 * @param {Trace} more
 */
function extend(to, more) {
  for (let i = 0; i < more.step.length; i++) {
    to.step.push(more.step[i]);
    to.value.push(more.value[i]);
    to.time.push(more.time[i]);
  }
}

/**
 * Add points at the end; a curve that has become long is thinned out, its smoothed one being made from all points first.
 * @param {Points} held
 * @param {Trace} more
 * @param {number} weight
 */
export function append(held, more, weight) {
  if (held.even) extend(held.even, { ...more, value: averaged(more.value, /** @type {number} */ (held.weight), held.even) });
  extend(held, more);
  if (held.step.length <= MOST || held.low) return;
  if (!held.even && !held.coarse && weight > 0) {
    const average = { total: 0, share: 0 };
    held.even = { step: held.step, time: held.time, value: averaged(held.value, weight, average), ...average };
    held.weight = weight;
  }
  if (held.even) Object.assign(held.even, thinned(held.even));
  Object.assign(held, thinned(held), { coarse: true });
}

/** The lowest and the highest point of every stretch, in order. */
function thinned(/** @type {Trace} */ { step, value, time }) {
  /** @type {Trace} */
  const few = { step: [], value: [], time: [] };
  const stretch = (2 * step.length) / LEFT;
  for (let at = 0; at < LEFT / 2; at++) {
    const [from, to] = [Math.floor(at * stretch), Math.min(step.length, Math.floor((at + 1) * stretch))];
    let [low, high] = [from, from];
    for (let i = from; i < to; i++) {
      const each = value[i];
      if (each === null) continue;
      if (value[low] === null || each < /** @type {number} */ (value[low])) low = i;
      if (value[high] === null || each > /** @type {number} */ (value[high])) high = i;
    }
    for (const i of low === high ? [low] : [Math.min(low, high), Math.max(low, high)]) extend(few, { step: [step[i]], value: [value[i]], time: [time[i]] });
  }
  return few;
}

/**
 * The first place at which a sorted list, or what is made of its values in the same order, is not below a value.
 * @param {number[]} sorted
 * @param {number} value
 * @param {(each: number) => number} [made]
 */
function placeOf(sorted, value, made = (each) => each) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (made(sorted[middle]) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * A trace with the finer points of a part in the place of its own.
 * @param {Trace} whole
 * @param {Trace} fine
 * @param {number} first
 * @param {number} last
 * @returns {Trace}
 */
function spliced(whole, fine, first, last) {
  const [from, to] = [placeOf(whole.step, first), placeOf(whole.step, last + 1)];
  const join = (/** @type {"step" | "value" | "time"} */ key) => [...whole[key].slice(0, from), ...fine[key], ...whole[key].slice(to)];
  return /** @type {Trace} */ ({ step: join("step"), value: join("value"), time: join("time") });
}

/** The points that are drawn: all that are held, the finer ones where they are. */
export function raw(/** @type {Points} */ held) {
  return held.part ? spliced(held, held.part, held.part.first, held.part.last) : held;
}

/**
 * The smoothed curve; null where it would have to be made from points that are not here (yet).
 * @param {Points} held
 * @param {number} weight
 * @returns {(Trace & Band) | null}
 */
export function even(held, weight) {
  if (!held.coarse) return { ...held, value: smoothed(held.value, weight) };
  if (!held.even || held.weight !== weight) return null;
  const { part } = held;
  if (!part || (part.coarse && (!part.even || part.weight !== weight))) return held.even;
  return spliced(held.even, part.even ?? evenOfPart(held, part, weight), part.first, part.last);
}

/**
 * A part that has all its points is smoothed here, from where the whole curve's average stands before it.
 * @param {Points} held
 * @param {Part} part
 * @param {number} weight
 */
function evenOfPart(held, part, weight) {
  const at = placeOf(/** @type {Even} */ (held.even).step, part.first) - 1;
  const before = at >= 0 ? held.even?.value[at] : null;
  const from = before === null || before === undefined ? { total: 0, share: 0 } : { total: before, share: 1 };
  return { step: part.step, time: part.time, value: averaged(part.value, weight, from) };
}

/** The run, or group of runs, that a curve belongs to; nothing where it is the page's own. */
export function ownerOf(/** @type {string} */ id) {
  return /^(r_\w+|earlier|g\d+):/.exec(id)?.[1] ?? "";
}

/** Whether an x axis is of seconds: since the start of each run, or of the clock. */
export function isTime(/** @type {string} */ axis) {
  return axis === "time" || axis === "clock";
}

/** Whether a curve has a place on an axis: the mean of several runs has none by the clock. */
export function standsOn(/** @type {Points} */ held, /** @type {string} */ axis) {
  return axis !== "clock" || held.stretches[0]?.[0] !== 0;
}

/**
 * Where an instant stands on an axis of seconds: by the clock, or how long had been trained then. A stretch of training is
 * [when it began, how long had been trained before]; what lies between two stands where the later begins.
 * @param {Points} held
 * @param {string} axis
 * @param {number} time
 */
export function secondsAt(held, axis, time) {
  if (axis === "clock") return time;
  const { stretches } = held;
  if (!stretches.length) return time - (held.time[0] ?? time);
  let at = stretches.length - 1;
  while (at > 0 && stretches[at][0] > time) at--;
  return Math.min(stretches[at][1] + time - stretches[at][0], stretches[at + 1]?.[1] ?? Infinity);
}

/**
 * Where points stand on the x axis.
 * @param {Trace} trace
 * @param {Points} held
 * @param {string} axis
 */
export function xOf(trace, held, axis) {
  if (axis === "epoch" && held.per_epoch) return trace.step.map((step) => step / /** @type {number} */ (held.per_epoch));
  if (isTime(axis)) {
    let [before, ties] = [NaN, 0];
    return trace.time.map((time) => {
      ties = time === before ? ties + 1 : 0;
      before = time;
      return secondsAt(held, axis, time) + ties * TIE_SECONDS;
    });
  }
  return trace.step;
}

/**
 * Where a step stands on the x axis of a curve: by time where the curve's first point from it on does, null where it has none.
 * @param {Points} held
 * @param {string} axis
 * @param {number} step
 */
export function placeOfStep(held, axis, step) {
  if (axis === "epoch") return held.per_epoch ? step / held.per_epoch : null;
  if (!isTime(axis)) return step;
  const at = placeOf(held.step, step);
  return standsOn(held, axis) && at < held.step.length ? secondsAt(held, axis, held.time[at]) : null;
}

/**
 * From which step to which a stretch of the x axis goes, for one curve.
 * @param {Points} held
 * @param {string} axis
 * @param {[number, number]} range
 */
export function stepsOf(held, axis, [low, high]) {
  if (axis === "epoch" && held.per_epoch) return [Math.floor(low * held.per_epoch), Math.ceil(high * held.per_epoch)];
  if (!isTime(axis)) return [Math.floor(low), Math.ceil(high)];
  const seconds = (/** @type {number} */ time) => secondsAt(held, axis, time);
  const [from, to] = [placeOf(held.time, low, seconds) - 1, placeOf(held.time, high, seconds)];
  return [held.step[Math.max(0, from)] ?? 0, held.step[Math.min(held.step.length - 1, to)] ?? 0];
}

/**
 * Whether finer points of these steps are to be had.
 * @param {Points} held
 * @param {number} first
 * @param {number} last
 * @param {number} weight of the smoothing; 0 for a curve that is not smoothed
 */
export function wantsFiner(held, first, last, weight) {
  // Of a mean there are no finer ones: each of its points is of many.
  if (!held.coarse || held.low || !held.step.length) return false;
  const [from, to] = [Math.max(first, held.step[0]), Math.min(last, held.step[held.step.length - 1])];
  if (to <= from) return false;
  const { part } = held;
  if (!part || from < part.first || to > part.last) return true;
  return part.coarse === true && ((to - from) * 2 < part.last - part.first || (weight > 0 && part.weight !== weight));
}
