/** Curves of several runs, or means of groups, over one another; while a run lives they are read anew when something changed. */

import { boardOf } from "./charts.js";
import { throttled } from "./live.js";

const board = boardOf(/** @type {HTMLFormElement} */ (document.getElementById("controls")));
const embedded = JSON.parse(document.getElementById("points")?.textContent ?? "{}");
/** @type {string[]} */
const alive = JSON.parse(document.getElementById("live-runs")?.textContent ?? "[]");

const boxOf = (/** @type {import("./charts.js").Definition} */ definition) =>
  /** @type {HTMLElement | null} */ (document.querySelector(`[data-chart="${CSS.escape(definition.key)}"]`));

board.load(embedded.charts, embedded.points, boxOf);

async function readAnew() {
  const asked = new URLSearchParams(location.search);
  const named = new URLSearchParams({ runs: asked.get("runs") ?? "", by: asked.get("by") ?? "" });
  const answer = await fetch(`/compare/points?${named}`);
  if (!answer.ok) return;
  const found = await answer.json();
  board.points = found.points;
  // A curve that came meanwhile has a place only on the page as the server draws it now.
  const drawn = new Set(embedded.charts.flatMap((/** @type {import("./charts.js").Definition} */ chart) => chart.series.map((series) => `${chart.key} ${series.id}`)));
  const fresh = found.charts.some((/** @type {import("./charts.js").Definition} */ chart) => chart.series.some((series) => !drawn.has(`${chart.key} ${series.id}`)));
  if (fresh) location.reload();
  else board.draw();
}

if (alive.length) document.body.addEventListener("yard-changed", throttled(2000, readAnew));
