/** Curves of several runs, or means of groups, over one another; while a run lives they are read anew when something changed. */

import { boardOf } from "./board.js";
import { placeOfStep } from "./curves.js";
import { debounced, throttled } from "./live.js";
import { readPart } from "./parts.js";

const FEW_MILLISECONDS = 250;

const board = boardOf(/** @type {HTMLFormElement} */ (document.getElementById("controls")));
const embedded = JSON.parse(document.getElementById("points")?.textContent ?? "{}");
/** @type {string[]} */
const alive = JSON.parse(document.getElementById("live-runs")?.textContent ?? "[]");

const boxOf = (/** @type {import("./chart.js").Definition} */ definition) =>
  /** @type {HTMLElement | null} */ (document.querySelector(`[data-chart="${CSS.escape(definition.key)}"]`));

board.readPart = (names, first, last, weight, owner) => readPart(owner, names, first, last, weight);
board.readAnew = debounced(FEW_MILLISECONDS, () => readAnew());
board.load(embedded.charts, embedded.points, boxOf, board.controls.smoothing);
if (board.unsmoothed()) readAnew();

async function readAnew() {
  const asked = new URLSearchParams(location.search);
  const weight = board.controls.smoothing;
  const named = new URLSearchParams({ runs: asked.get("runs") ?? "", by: asked.get("by") ?? "", smoothing: weight.toFixed(2) });
  const answer = await fetch(`/compare/points?${named}`).catch(() => null);
  if (!answer?.ok) return;
  const found = await answer.json();
  // A curve that came meanwhile has a place only on the page as the server draws it now.
  const drawn = new Set(embedded.charts.flatMap((/** @type {import("./chart.js").Definition} */ chart) => chart.series.map((series) => `${chart.key} ${series.id}`)));
  const fresh = found.charts.some((/** @type {import("./chart.js").Definition} */ chart) => chart.series.some((series) => !drawn.has(`${chart.key} ${series.id}`)));
  if (fresh) {
    location.reload();
    return;
  }
  for (const [id, held] of Object.entries(found.points)) held.part = board.points[id]?.part;
  board.load(found.charts, found.points, boxOf, weight);
}

if (alive.length) document.body.addEventListener("yard-changed", throttled(2000, readAnew));

// Where runs split ----------------------------------------------------------------------------------------------------

/** @type {{owner: string, step: number, css: string, label: string}[]} */
const splits = JSON.parse(document.getElementById("splits-data")?.textContent ?? "[]");

/**
 * Where a step stands on the x axis: at its own time for each run, which the longest of its curves knows best.
 * @param {string} owner
 * @param {number} step
 */
function placeOfSplit(owner, step) {
  const held = Object.entries(board.points).filter(([id]) => id.startsWith(`${owner}:`)).map(([, points]) => points);
  if (!held.length) return null;
  return placeOfStep(held.reduce((best, each) => (each.step.length > best.step.length ? each : best)), board.controls.x, step);
}

/** @param {any} u a chart */
function markSplits(u) {
  for (const old of u.over.querySelectorAll(".split")) old.remove();
  const { min, max } = u.scales.x;
  for (const { owner, step, css, label } of splits) {
    const x = placeOfSplit(owner, step);
    if (x === null || min === null || x < min || x > max) continue;
    const mark = document.createElement("div");
    const left = u.valToPos(x, "x");
    mark.className = `split ${css}${left > u.over.clientWidth * 0.7 ? " left" : ""}`;
    mark.style.left = `${left}px`;
    const words = document.createElement("span");
    words.textContent = label;
    mark.append(words);
    u.over.append(mark);
  }
}

const marked = new WeakSet();
function watchCharts() {
  // @ts-ignore made by chart.js
  for (const u of Object.values(window.runyard?.charts ?? {})) {
    if (marked.has(u)) continue;
    marked.add(u);
    u.hooks.draw = [...(u.hooks.draw ?? []), markSplits];
    markSplits(u);
  }
}
if (splits.length) {
  watchCharts();
  new MutationObserver(watchCharts).observe(/** @type {HTMLElement} */ (document.getElementById("charts")), { childList: true, subtree: true });
}
