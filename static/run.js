/** A run's page: what it reports is drawn as it comes, from the commit on that the page was made at. */

import { boardOf } from "./charts.js";
import { announce, Stream, throttled } from "./live.js";
import { clockTime } from "./time.js";

const LOG_LINES = 2000;

const run = document.body.dataset.run ?? "";
const live = /** @type {HTMLElement} */ (document.getElementById("live"));
const charts = /** @type {HTMLElement} */ (document.getElementById("charts"));
const board = boardOf(/** @type {HTMLFormElement} */ (document.getElementById("controls")));
const embedded = JSON.parse(document.getElementById("points")?.textContent ?? "{}");

board.load(embedded.charts, embedded.points, boxOf);
if (!embedded.whole) reload(0);

/** @type {Stream | null} */
let stream = null;
if (document.body.dataset.stream) {
  stream = new Stream(document.body.dataset.stream, hear, Number(document.body.dataset.after));
}

/** @param {import("./charts.js").Definition} definition */
function boxOf(definition) {
  const known = /** @type {HTMLElement | null} */ (charts.querySelector(`[data-chart="${CSS.escape(definition.key)}"]`));
  const box = known ?? newBox(definition);
  const keys = /** @type {HTMLElement} */ (box.querySelector(".keys"));
  if (keys.childElementCount !== definition.series.length) keys.replaceChildren(...definition.series.map(keyOf));
  return box;
}

/** @param {import("./charts.js").Definition} definition */
function newBox(definition) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("chart-box"));
  const box = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  box.dataset.chart = definition.key;
  box.id = `chart-${definition.key.replaceAll("/", "-")}`;
  /** @type {HTMLElement} */ (box.querySelector("h2")).textContent = definition.title;
  charts.querySelector("section")?.before(box);
  return box;
}

/** @param {import("./charts.js").Series} series */
function keyOf(series) {
  const key = document.createElement("span");
  key.className = series.css;
  const dot = document.createElement("span");
  dot.className = `dot ${series.css}`;
  const value = document.createElement("b");
  value.dataset.readout = series.id;
  key.append(dot, series.label, value);
  return key;
}

// Points --------------------------------------------------------------------------------------------------------------

/**
 * Read the curves anew and go on from the commit they were read at.
 * @param {number} points 0: every point
 */
async function reload(points) {
  const answer = await fetch(`/runs/${run}/points?points=${points}`);
  if (!answer.ok) return;
  const fresh = await answer.json();
  board.load(fresh.charts, fresh.points, boxOf);
  stream?.resume(fresh.commit);
}

/** How long ago the newest of these points was made, said once they are on the screen. */
function sayHowFarBehind(/** @type {Record<string, {time: number[]}>} */ fresh) {
  const newest = Math.max(...Object.values(fresh).map((points) => points.time[points.time.length - 1] ?? 0));
  board.draw(() => {
    if (!stream || stream.over) return;
    const behind = Math.max(0, Date.now() - newest * 1000);
    live.textContent = `live · ${behind < 10_000 ? `${Math.round(behind)} ms` : `${Math.round(behind / 1000)} s`} behind`;
    live.dataset.behind = String(Math.round(behind));
  });
}

// What the stream says ------------------------------------------------------------------------------------------------

// Fragments have no throttle of their own: htmx's drops the last event, the one that says how it ended.
const headChanged = throttled(500, () => announce("run-changed"));
const yardChanged = throttled(2000, () => announce("yard-changed"));
function changed() {
  headChanged();
  yardChanged();
}

/**
 * @param {string} event
 * @param {any} data
 */
function hear(event, data) {
  switch (event) {
    case "metrics":
      if (board.append(data)) sayHowFarBehind(data);
      else reload(0);
      changed();
      break;
    case "reset":
      reload(0);
      changed();
      break;
    case "log":
      addLines(data);
      break;
    case "status":
      announce("status-changed");
      changed();
      break;
    case "end":
      live.textContent = "";
      announce("status-changed");
      changed();
      break;
    case "gone":
      location.assign("/runs");
      break;
    default:
      changed();
  }
}

// Log -----------------------------------------------------------------------------------------------------------------

const log = /** @type {HTMLElement} */ (document.getElementById("log"));
const lineList = /** @type {HTMLElement} */ (document.getElementById("log-lines"));
const follow = /** @type {HTMLButtonElement} */ (document.getElementById("log-follow"));
const state = /** @type {HTMLElement} */ (document.getElementById("log-state"));
let following = true;
let lastLine = Number(lineList.lastElementChild?.getAttribute("data-line") ?? 0);

function toEnd() {
  log.scrollTop = log.scrollHeight;
}

function sayState() {
  follow.hidden = following;
  if (stream && !stream.over) state.textContent = following ? "following" : "paused; scroll to the end to follow";
}

log.addEventListener("scroll", () => {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  sayState();
});
follow.addEventListener("click", toEnd);
toEnd();
sayState();

/** @param {{id: number, time: number, level: string, text: string}[]} lines */
function addLines(lines) {
  log.querySelector("[data-none]")?.remove();
  for (const line of lines) {
    if (line.id <= lastLine) continue;
    lastLine = line.id;
    const row = document.createElement("div");
    row.className = line.level;
    row.dataset.line = String(line.id);
    const time = document.createElement("time");
    time.dateTime = new Date(line.time * 1000).toISOString();
    time.dataset.shown = "clock";
    time.textContent = clockTime(line.time * 1000);
    row.append(time, line.text);
    lineList.append(row);
  }
  while (lineList.childElementCount > LOG_LINES) lineList.firstElementChild?.remove();
  if (following) toEnd();
}
