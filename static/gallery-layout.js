/** Where the images of a long gallery are, and which of them are in sight. No DOM here. */

/** Images in one picture, and in a row of it. */
export const SHEET = 100;
export const SHEET_COLUMNS = 10;
export const GAP = 8;

/** Columns that fit into a width; at least one. */
export function columnsIn(/** @type {number} */ width, /** @type {number} */ tile) {
  return Math.max(1, Math.floor((width + GAP) / (tile + GAP)));
}

/**
 * First and last+1 image that is in sight, or near.
 * @param {number} top what is above the window, in pixels
 * @param {number} height of the window
 * @param {number} row height of a row, without the gap
 * @param {number} columns
 * @param {number} total
 * @param {number} margin pixels above and below that count too
 */
export function inSight(top, height, row, columns, total, margin) {
  const step = row + GAP;
  const first = Math.max(0, Math.floor((top - margin) / step)) * columns;
  const last = Math.max(0, Math.ceil((top + height + margin) / step)) * columns;
  return [Math.min(first, total), Math.min(last, total)];
}

/**
 * The position of an image in its sheet as CSS understands it: [x, y] in percent, and the size of the background.
 * @param {number} place in the sheet
 * @param {number} count images in the sheet
 */
export function spritePosition(place, count) {
  const rows = Math.ceil(count / SHEET_COLUMNS);
  const column = place % SHEET_COLUMNS;
  const row = Math.floor(place / SHEET_COLUMNS);
  return {
    x: (100 * column) / (SHEET_COLUMNS - 1),
    y: rows > 1 ? (100 * row) / (rows - 1) : 0,
    width: 100 * SHEET_COLUMNS,
    height: 100 * rows,
  };
}

/**
 * Neighboring epochs with the same outcome as stretches: [from, to, right] with 0 ≤ from < to ≤ 1.
 * @param {string} right "1" for each epoch after which the prediction was right
 * @returns {[number, number, boolean][]}
 */
export function stretches(right) {
  /** @type {[number, number, boolean][]} */
  const found = [];
  for (let first = 0; first < right.length; ) {
    let end = first + 1;
    while (end < right.length && right[end] === right[first]) end++;
    found.push([first / right.length, end / right.length, right[first] === "1"]);
    first = end;
  }
  return found;
}

/** Where a key leads from an image; null if the key does not move. */
export function moved(
  /** @type {string} */ key,
  /** @type {number} */ at,
  /** @type {number} */ columns,
  /** @type {number} */ total,
) {
  const steps = /** @type {Record<string, number>} */ ({
    ArrowRight: 1,
    j: 1,
    ArrowLeft: -1,
    k: -1,
    ArrowDown: columns,
    ArrowUp: -columns,
    PageDown: 4 * columns,
    PageUp: -4 * columns,
    Home: -total,
    End: total,
  });
  return key in steps ? Math.min(total - 1, Math.max(0, at + steps[key])) : null;
}
