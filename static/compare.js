/** The comparison page: curves of several runs, or means of groups. They are reloaded while one of the runs is active. */

/**
 * @import uPlot from "uplot"
 * @import { Definition } from "./chart.js"
 * @import { Curve } from "./curves.js"
 */

import { createBoard } from "./board-controls.js";
import { stepToX } from "./curves.js";
import { byId, embeddedJson, query } from "./dom.js";
import { fetchPart } from "./fetch-points.js";
import { debounce, throttle } from "./timers.js";

const DEBOUNCE_MILLISECONDS = 250;
const RELOAD_MILLISECONDS = 2000;

/** @typedef {{charts: Definition[], points: Record<string, Curve>}} Embedded */

const board = createBoard(byId("controls", HTMLFormElement));
const embedded = embeddedJson("points", /** @type {Embedded} */ ({ charts: [], points: {} }));
const activeRuns = embeddedJson("live-runs", /** @type {string[]} */ ([]));

const boxOf = (/** @type {Definition} */ { key }) => query(document, `[data-chart="${CSS.escape(key)}"]`, HTMLElement);

board.fetchPart = (names, first, last, weight, owner) => fetchPart(owner, names, first, last, weight);
board.reload = debounce(DEBOUNCE_MILLISECONDS, () => reload());
board.load(embedded.charts, embedded.points, boxOf, board.controls.smoothing);
if (board.lacksSmoothing()) reload();

const curveIds = (/** @type {Definition[]} */ charts) =>
  charts.flatMap(({ key, series }) => series.map(({ id }) => `${key} ${id}`));

async function reload() {
  const page = new URLSearchParams(location.search);
  const weight = board.controls.smoothing;
  const parameters = new URLSearchParams({
    runs: page.get("runs") ?? "",
    by: page.get("by") ?? "",
    smoothing: weight.toFixed(2),
  });
  const response = await fetch(`/compare/points?${parameters}`).catch(() => null);
  if (!response?.ok) return;
  /** @type {Embedded} */
  const { charts, points } = await response.json();
  // Only the server can add a legend entry for a new curve.
  const known = new Set(curveIds(embedded.charts));
  if (curveIds(charts).some((id) => !known.has(id))) {
    location.reload();
    return;
  }
  for (const [id, curve] of Object.entries(points)) curve.part = board.curves[id]?.part;
  board.load(charts, points, boxOf, weight);
}

if (activeRuns.length) document.body.addEventListener("yard-changed", throttle(RELOAD_MILLISECONDS, reload));

// Forks: where a run left the run it continues -------------------------------------------------------------------------

/** @type {{owner: string, step: number, css: string, label: string}[]} */
const forks = embeddedJson("splits-data", []);

/**
 * The x of a fork. On a time axis it depends on the run, and the run's curve with the most points is the most precise.
 * @param {string} owner
 * @param {number} step
 */
function forkX(owner, step) {
  const curves = Object.entries(board.curves)
    .filter(([id]) => id.startsWith(`${owner}:`))
    .map(([, curve]) => curve);
  if (!curves.length) return null;
  const densest = curves.reduce((best, curve) => (curve.step.length > best.step.length ? curve : best));
  return stepToX(densest, board.controls.x, step);
}

/** @param {uPlot} plot */
function drawForks(plot) {
  for (const old of plot.over.querySelectorAll(".split")) old.remove();
  const { min, max } = plot.scales.x;
  for (const { owner, step, css, label } of forks) {
    const x = forkX(owner, step);
    if (x === null || min == null || max == null || x < min || x > max) continue;
    const line = document.createElement("div");
    const left = plot.valToPos(x, "x");
    line.className = `split ${css}${left > plot.over.clientWidth * 0.7 ? " left" : ""}`;
    line.style.left = `${left}px`;
    const text = document.createElement("span");
    text.textContent = label;
    line.append(text);
    plot.over.append(line);
  }
}

/** @type {WeakSet<uPlot>} */
const watched = new WeakSet();
function watchCharts() {
  for (const plot of Object.values(window.runyard.charts)) {
    if (watched.has(plot)) continue;
    watched.add(plot);
    plot.hooks.draw = [...(plot.hooks.draw ?? []), drawForks];
    drawForks(plot);
  }
}
if (forks.length) {
  watchCharts();
  byId("charts", HTMLElement).addEventListener("chart-built", watchCharts);
}
