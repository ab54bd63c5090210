/** Tables as CSV. No DOM here. */

/** A CSV field, quoted if it contains a comma, a quote or a line break. */
export function csvField(/** @type {string} */ text) {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * One row per x value, one column per curve. A cell is empty where its curve has no point, or has NaN.
 * @param {string} axis heads the first column
 * @param {string[]} labels of the curves
 * @param {ArrayLike<number | bigint>} xs
 * @param {ArrayLike<number | null | undefined>[]} curves
 */
export function toCsv(axis, labels, xs, curves) {
  const head = [axis, ...labels.map(csvField)].join(",");
  const rows = Array.from(xs, (x, i) => [x, ...curves.map((values) => values[i] ?? "")].join(","));
  return [head, ...rows, ""].join("\n");
}
