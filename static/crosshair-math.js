/** The arithmetic of the crosshair. No DOM here. */

/** @typedef {ArrayLike<number | null | undefined>} Values of one curve; undefined where it has no point */

/** @type {WeakMap<object, {length: number, last: number, previous: number}>} */
const lastPoints = new WeakMap();

/** The last two indices at which a curve has a point; -1 if it has none. Cached per array. */
function lastPointsOf(/** @type {Values} */ values) {
  const cached = lastPoints.get(values);
  if (cached?.length === values.length) return cached;
  const pointAtOrBefore = (/** @type {number} */ index) => {
    while (index >= 0 && values[index] == null) index--;
    return index;
  };
  const last = pointAtOrBefore(values.length - 1);
  const result = { length: values.length, last, previous: pointAtOrBefore(last - 1) };
  lastPoints.set(values, result);
  return result;
}

/**
 * The value of a curve at an index, or its newest value before that. Undefined beyond the position where the next point
 * after the curve's end would be.
 * @param {ArrayLike<number>} xs
 * @param {Values | undefined} values
 * @param {number | null} index null for the curve's end
 */
export function valueAt(xs, values, index) {
  if (!values) return undefined;
  const { last, previous } = lastPointsOf(values);
  if (index === null || last < 0) return values[last];
  const gap = previous < 0 ? 0 : xs[last] - xs[previous];
  if (xs[index] > xs[last] + gap) return undefined;
  let i = index;
  while (i > 0 && values[i] == null) i--;
  return values[i];
}

/**
 * The first and the last index between `min` and `max`; at least one index, even if no point is between them.
 * @param {ArrayLike<number>} xs sorted
 * @param {number} min
 * @param {number} max
 */
export function visibleIndices(xs, min, max) {
  let first = 0;
  while (first < xs.length && !(xs[first] >= min)) first++;
  let last = xs.length - 1;
  while (last > 0 && xs[last] > max) last--;
  return [Math.min(first, last), last];
}

/**
 * The index that an arrow key moves to: the next one at least a stride away, or the outermost visible one.
 * @param {number} index
 * @param {1 | -1} direction
 * @param {number} first visible index
 * @param {number} last visible index
 * @param {(index: number) => number} distance from the current position, in pixels
 * @param {number} stride in pixels
 */
export function nextIndex(index, direction, first, last, distance, stride) {
  let next = index;
  while (next + direction >= first && next + direction <= last && (next === index || distance(next) < stride)) {
    next += direction;
  }
  return next;
}

/**
 * The visible range after zooming by a factor around a center, within the full range; null if it is the full range.
 * @param {[number, number]} visible
 * @param {[number, number]} full
 * @param {number} center
 * @param {number} factor below 1 to zoom in
 * @returns {[number, number] | null}
 */
export function zoomedRange([low, high], [first, last], center, factor) {
  const from = Math.max(first, center - (center - low) * factor);
  const to = Math.min(last, center + (high - center) * factor);
  return from <= first && to >= last ? null : [from, to];
}
