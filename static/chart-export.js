/** Exports of a chart: its points as CSV, its picture as PNG or SVG. */

/**
 * @import uPlot from "uplot"
 * @import { Chart } from "./chart.js"
 */

import { formatX } from "./chart-format.js";
import { toCsv } from "./csv.js";
import { query } from "./dom.js";
import { stepAt } from "./step-axis.js";

const HEADING_PIXELS = 26;
const ROW_PIXELS = 16;
const SAMPLE_PIXELS = 18;
const REVOKE_MILLISECONDS = 10_000;

const SUFFIXES = { high: " high", low: " low", faint: " raw", smooth: "", plain: "" };

/** The drawn lines, each with its index in uPlot's data. */
function linesOf(/** @type {uPlot} */ plot) {
  return plot.series.slice(1).map((series, i) => {
    const kind = series.kind ?? "plain";
    return { series, kind, index: i + 1, label: `${series.label ?? ""}${SUFFIXES[kind]}` };
  });
}

/** The lines with a legend entry: neither faint raw traces nor edges of bands. */
function legendOf(/** @type {uPlot} */ plot) {
  return linesOf(plot).filter(({ kind }) => kind === "smooth" || kind === "plain");
}

/**
 * @param {uPlot} plot
 * @param {uPlot.Series} series
 * @param {number} index
 */
function strokeOf(plot, series, index) {
  const { stroke } = series;
  return String((typeof stroke === "function" ? stroke(plot, index) : stroke) ?? "none");
}

/** The run's number, the page's heading and the chart's title. */
function fullTitle(/** @type {Chart} */ chart) {
  const number = query(document, "[data-number]", HTMLElement)?.dataset.number;
  const heading = document.querySelector("h1")?.textContent?.trim();
  return [number && `#${number}`, heading, chart.definition.title].filter(Boolean).join(" · ");
}

/**
 * @param {Blob} blob
 * @param {Chart} chart
 * @param {string} extension
 */
function save(blob, chart, extension) {
  const link = document.createElement("a");
  const name = fullTitle(chart)
    .replace(/[^\w.-]+/g, "-")
    .replace(/^-+|-+$/g, "");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), REVOKE_MILLISECONDS);
}

/** The chart's points at their exact x values; null if it is not drawn. */
function csvOf(/** @type {Chart} */ chart) {
  const data = chart.data(true);
  if (!chart.uplot || !data) return null;
  const lines = linesOf(chart.uplot);
  const labels = lines.map(({ label }) => label);
  const { controls, stepUnit } = chart.board;
  return toCsv(
    controls.x,
    labels,
    controls.x === "step" ? Array.from(data[0], (x) => stepAt(x, stepUnit)) : data[0],
    lines.map(({ index }) => data[index]),
  );
}

/** Copy the points to the clipboard; false if the chart is not drawn. */
export async function copyCsv(/** @type {Chart} */ chart) {
  const csv = csvOf(chart);
  if (csv === null) return false;
  await navigator.clipboard.writeText(csv);
  return true;
}

export function saveCsv(/** @type {Chart} */ chart) {
  const csv = csvOf(chart);
  if (csv !== null) save(new Blob([csv], { type: "text/csv" }), chart, "csv");
}

/** Save the chart's pixels on the page's background, with a heading above and a legend below. */
export function savePng(/** @type {Chart} */ chart) {
  const plot = chart.uplot;
  if (!plot) return;
  const drawing = plot.ctx.canvas;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  if (!context) return;
  const style = getComputedStyle(chart.box);
  const font = `11px ${style.fontFamily}`;
  context.font = font;
  const { entries, rows } = layOutLegend(plot, context);
  canvas.width = drawing.width;
  canvas.height = drawing.height + (HEADING_PIXELS + ROW_PIXELS * rows + 8) * devicePixelRatio;
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(drawing, 0, HEADING_PIXELS * devicePixelRatio);
  context.scale(devicePixelRatio, devicePixelRatio);
  context.fillStyle = style.color;
  context.font = `600 12px ${style.fontFamily}`;
  context.fillText(fullTitle(chart), 8, 17, plot.width - 16);
  context.font = font;
  for (const { x, row, line } of entries) {
    const y = HEADING_PIXELS + plot.height + ROW_PIXELS * row + 8;
    context.strokeStyle = strokeOf(plot, line.series, line.index);
    context.lineWidth = 2;
    context.setLineDash(line.series.dash ?? []);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + SAMPLE_PIXELS, y);
    context.stroke();
    context.fillText(line.label, x + SAMPLE_PIXELS + 4, y + 4);
  }
  canvas.toBlob((blob) => blob && save(blob, chart, "png"));
}

/**
 * The legend's entries in as many rows as the plot's width requires.
 * @param {uPlot} plot
 * @param {CanvasRenderingContext2D} context
 */
function layOutLegend(plot, context) {
  let [x, row] = [8, 0];
  const entries = legendOf(plot).map((line) => {
    const width = SAMPLE_PIXELS + 4 + context.measureText(line.label).width + 14;
    if (x > 8 && x + width > plot.width) [x, row] = [8, row + 1];
    const entry = { x, row, line };
    x += width;
    return entry;
  });
  return { entries, rows: row + 1 };
}

const escapeXml = (/** @type {string} */ text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** Save the chart as vector paths with ticks and a legend, to print at any size. */
export function saveSvg(/** @type {Chart} */ chart) {
  if (chart.uplot) save(new Blob([svgOf(chart, chart.uplot)], { type: "image/svg+xml" }), chart, "svg");
}

/** @typedef {{x: number, y: number, width: number, height: number}} Box the plotting area in CSS pixels */

/**
 * @param {Chart} chart
 * @param {uPlot} plot
 */
function svgOf(chart, plot) {
  const { bbox } = plot;
  const box = {
    x: bbox.left / devicePixelRatio,
    y: bbox.top / devicePixelRatio,
    width: bbox.width / devicePixelRatio,
    height: bbox.height / devicePixelRatio,
  };
  const style = getComputedStyle(chart.box);
  const legend = svgLegend(plot, box);
  const height = HEADING_PIXELS + plot.height + ROW_PIXELS * legend.length + 12;
  const lines = linesOf(plot).map(({ series, index }) => svgLine(plot, box, series, index));
  const { axis, stepUnit } = chart.board;
  const format = (/** @type {number | null | undefined} */ x) => formatX(axis, x ?? 0, stepUnit);
  const { min, max } = plot.scales.x;
  const title = escapeXml(`${chart.definition.title}, ${format(min)} to ${format(max)}`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${plot.width}" height="${height}"`,
    ` viewBox="0 0 ${plot.width} ${height}" font-family="sans-serif" font-size="11" fill="${style.color}">`,
    `<title>${title}</title><rect width="100%" height="100%" fill="${style.backgroundColor}"/>`,
    `<text x="8" y="17" font-size="12" font-weight="600">${escapeXml(fullTitle(chart))}</text>`,
    `<g transform="translate(0 ${HEADING_PIXELS})">`,
    ...svgTicks(plot, box),
    `<svg x="0" y="0" overflow="hidden">`,
    ...svgBands(plot, box),
    ...lines,
    "</svg>",
    ...legend,
    "</g></svg>",
  ].join("");
}

/** Whether an x value is visible. */
function inRange(/** @type {uPlot} */ plot, /** @type {number} */ x) {
  const { min, max } = plot.scales.x;
  return x >= (min ?? -Infinity) && x <= (max ?? Infinity);
}

/** @param {uPlot.Series} series */
const dashAttribute = ({ dash }) => (dash ? ` stroke-dasharray="${dash.join(" ")}"` : "");

/**
 * @param {uPlot} plot
 * @param {Box} box
 * @param {uPlot.Series} series
 * @param {number} index
 */
function svgLine(plot, box, series, index) {
  if (series.width === 0) return "";
  let path = "";
  let open = false;
  const [xs, values] = [plot.data[0], plot.data[index]];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    // null is a gap; undefined is a point of another curve, which the line crosses.
    if (value === null) open = false;
    if (value === null || value === undefined || !inRange(plot, xs[i])) continue;
    const left = (box.x + plot.valToPos(xs[i], "x")).toFixed(1);
    path += `${open ? "L" : "M"}${left} ${(box.y + plot.valToPos(value, "y")).toFixed(1)}`;
    open = true;
  }
  const stroke = strokeOf(plot, series, index);
  const opacity = series.alpha ?? 1;
  return `<path d="${path}" fill="none" stroke="${stroke}" stroke-width="${series.width}" opacity="${opacity}"${dashAttribute(series)}/>`;
}

/**
 * @param {uPlot} plot
 * @param {Box} box
 */
function svgBands(plot, box) {
  const [xs] = plot.data;
  // The types leave out the bands of a plot.
  const { bands = [] } = /** @type {{bands?: uPlot.Band[]}} */ (plot);
  return bands.map(({ series: [high, low], fill }, index) => {
    const [highs, lows] = [plot.data[high], plot.data[low]];
    const indices = Array.from(xs, (_, i) => i).filter(
      (i) => highs[i] != null && lows[i] != null && inRange(plot, xs[i]),
    );
    const corner = (/** @type {number} */ i, /** @type {number | null | undefined} */ value) =>
      `${(box.x + plot.valToPos(xs[i], "x")).toFixed(1)},${(box.y + plot.valToPos(value ?? 0, "y")).toFixed(1)}`;
    const upper = indices.map((i) => corner(i, highs[i]));
    const lower = indices.reverse().map((i) => corner(i, lows[i]));
    const color = typeof fill === "function" ? fill(plot, index, "none") : fill;
    return `<polygon points="${[...upper, ...lower].join(" ")}" fill="${color}"/>`;
  });
}

/**
 * @param {uPlot} plot
 * @param {Box} box
 */
function svgTicks(plot, box) {
  return plot.axes.flatMap((axis, i) =>
    (axis._splits ?? []).map((value, n) => {
      const label = escapeXml(String(axis._values?.[n] ?? ""));
      if (!label) return "";
      const position = plot.valToPos(value, axis.scale ?? "");
      if (i === 0) {
        return `<text x="${box.x + position}" y="${box.y + box.height + 16}" text-anchor="middle">${label}</text>`;
      }
      const y = box.y + position;
      const line = `<path d="M${box.x} ${y}h${box.width}" stroke="#8884"/>`;
      return `${line}<text x="${box.x - 6}" y="${y + 4}" text-anchor="end">${label}</text>`;
    }),
  );
}

/**
 * @param {uPlot} plot
 * @param {Box} box
 */
function svgLegend(plot, box) {
  return legendOf(plot).map(({ label, series, index }, i) => {
    const y = plot.height + 18 + ROW_PIXELS * i;
    const stroke = strokeOf(plot, series, index);
    const ends = `x1="${box.x}" y1="${y - 4}" x2="${box.x + SAMPLE_PIXELS}" y2="${y - 4}"`;
    const sample = `<line ${ends} stroke="${stroke}" stroke-width="2"${dashAttribute(series)}/>`;
    return `${sample}<text x="${box.x + SAMPLE_PIXELS + 6}" y="${y}">${escapeXml(label)}</text>`;
  });
}
