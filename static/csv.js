/** Tables as CSV. No DOM here. */

/** What a text begins with that a spreadsheet may calculate, as app/formats/csv_cells.py has it. */
const FORMULA = /^[=+\-@\t\n＝＋－＠]/;
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

/** A CSV field, quoted if it contains a comma, a quote or a line break; an apostrophe precedes a formula. */
export function csvField(/** @type {string} */ text) {
  const lines = text.replaceAll(/\r\n?/g, "\n");
  const safe = FORMULA.test(lines) && !NUMBER.test(lines) ? `'${lines}` : lines;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
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
