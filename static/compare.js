/** Curves of several runs over one another; those of runs that live are read anew when something changed. */

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
  for (const run of alive) {
    const answer = await fetch(`/runs/${run}/points?points=2000`);
    if (!answer.ok) continue;
    for (const [name, points] of Object.entries((await answer.json()).points)) board.points[`${run}:${name}`] = points;
  }
  board.draw();
}

if (alive.length) document.body.addEventListener("yard-changed", throttled(2000, readAnew));
