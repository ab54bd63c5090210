/** The page of a run: draws what the run reports as it arrives, starting after the commit that the page shows. */

/**
 * @import { Definition, Series } from "./chart.js"
 * @import { Curve, Trace } from "./curves.js"
 */

import { createBoard } from "./board-controls.js";
import { arrange, enableFilter, restore } from "./chart-layout.js";
import { ownerOf } from "./curves.js";
import { byId, embeddedJson, get, query } from "./dom.js";
import { fetchPart } from "./fetch-points.js";
import { followLog } from "./log-viewer.js";
import "./run-control.js";
import { announce, EventStream } from "./event-stream.js";
import { showStatusInTab } from "./tab-status.js";
import { debounce, throttle } from "./timers.js";

const DEBOUNCE_MILLISECONDS = 250;
const LATE_MILLISECONDS = 3000;
const OVERLAY_MILLISECONDS = 4000;
const RELOAD_MILLISECONDS = 1000;

/**
 * @typedef {object} RunPoints
 * @property {Definition[]} charts
 * @property {Record<string, Curve>} points
 * @property {number} commit
 * @property {boolean} beside_live whether a run that is overlaid is active
 */

const run = document.body.dataset.run ?? "";
const live = byId("live", HTMLElement);
const charts = byId("charts", HTMLElement);
const board = createBoard(byId("controls", HTMLFormElement));
const embedded = embeddedJson(
  "points",
  /** @type {RunPoints} */ ({ charts: [], points: {}, commit: 0, beside_live: false }),
);

/** @type {EventStream | null} */
let stream = null;
let overlayTimer = 0;

arrange(charts);
enableFilter(charts, query(document, "#chart-filter", HTMLInputElement));
board.fetchPart = (names, first, last, weight, owner) => fetchPart(owner || run, names, first, last, weight);
board.reload = debounce(DEBOUNCE_MILLISECONDS, () => reload());
board.load(embedded.charts, embedded.points, boxOf, board.controls.smoothing);
if (board.lacksSmoothing()) reload();
else if (embedded.beside_live) scheduleOverlays();

const addLogLines = followLog(() => stream !== null && !stream.finished);
if (document.body.dataset.stream) {
  stream = new EventStream(document.body.dataset.stream, onEvent, Number(document.body.dataset.after));
  stream.onConnectionChange = showConnection;
  setInterval(showConnection, 1000);
}
showStatusInTab();
document.addEventListener("htmx:afterSettle", showStatusInTab);

// Chart boxes ---------------------------------------------------------------------------------------------------------

/** @param {Definition} definition */
function boxOf(definition) {
  const box = query(charts, `[data-chart="${CSS.escape(definition.key)}"]`, HTMLElement) ?? createBox(definition);
  const legend = get(box, ".keys", HTMLElement);
  if (legend.childElementCount !== definition.series.length) {
    legend.replaceChildren(...definition.series.map((series) => createLegendEntry(series, definition.title)));
  }
  return box;
}

/**
 * A copy of the first element of a template.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 */
function cloneTemplate(id, type) {
  const copy = byId(id, HTMLTemplateElement).content.firstElementChild?.cloneNode(true);
  if (copy instanceof type) return copy;
  throw new Error(`The template "${id}" has no ${type.name}.`);
}

/** @param {Definition} definition */
function createBox({ key, title, group: name }) {
  const box = cloneTemplate("chart-box", HTMLElement);
  box.dataset.chart = key;
  box.id = `chart-${key.replaceAll("/", "-")}`;
  get(box, "h2", HTMLElement).textContent = title;
  const group = query(charts, `[data-group="${CSS.escape(name)}"]`, HTMLDetailsElement) ?? createGroup(name);
  group.querySelector(".charts")?.append(box);
  const count = group.querySelectorAll("figure.chart").length;
  get(group, "summary .soft", HTMLElement).textContent = String(count);
  restore(group);
  return box;
}

/** @param {string} name */
function createGroup(name) {
  const group = cloneTemplate("chart-group", HTMLDetailsElement);
  group.dataset.group = name;
  get(group, "h2", HTMLElement).textContent = name;
  charts.querySelector("#charts-none")?.before(group);
  return group;
}

/**
 * @param {Series} series
 * @param {string} title of its chart
 */
function createLegendEntry(series, title) {
  const entry = document.createElement("span");
  entry.className = series.css;
  entry.dataset.series = series.id;
  const dot = document.createElement("span");
  dot.className = `dot ${series.css}`;
  const value = document.createElement("b");
  value.dataset.readout = series.id;
  entry.append(dot, series.label === title ? "" : series.label, value);
  return entry;
}

// Points --------------------------------------------------------------------------------------------------------------

/** The parameters of the page's URL that name the overlaid runs. */
function overlayParameters() {
  const page = new URLSearchParams(location.search);
  const parameters = new URLSearchParams();
  for (const word of page.getAll("with")) parameters.append("with", word);
  const baseline = page.get("baseline");
  if (baseline) parameters.set("baseline", baseline);
  return parameters;
}

/** Poll the points of overlaid runs: the page's stream reports only its own run. */
function scheduleOverlays() {
  clearTimeout(overlayTimer);
  overlayTimer = setTimeout(reloadOverlays, OVERLAY_MILLISECONDS);
}

async function reloadOverlays() {
  const weight = board.controls.smoothing;
  const fresh = document.hidden ? null : await fetchPoints(weight);
  if (!fresh) {
    scheduleOverlays();
    return;
  }
  for (const [id, curve] of Object.entries(fresh.points)) {
    if (!ownerOf(id)) continue;
    const known = board.curves[id];
    // A new curve needs a place on its chart.
    if (!known) {
      reload();
      return;
    }
    board.curves[id] = { ...curve, weight, part: known.part };
  }
  board.scheduleDraw();
  if (fresh.beside_live) scheduleOverlays();
}

/**
 * All curves as the server has them now; null if it does not answer.
 * @param {number} weight
 * @returns {Promise<RunPoints | null>}
 */
async function fetchPoints(weight) {
  const parameters = overlayParameters();
  parameters.set("smoothing", weight.toFixed(2));
  const response = await fetch(`/runs/${run}/points?${parameters}`).catch(() => null);
  return response?.ok ? response.json() : null;
}

/** Load all curves and continue the stream from their commit. */
async function reload() {
  const weight = board.controls.smoothing;
  const fresh = await fetchPoints(weight);
  if (!fresh) {
    setTimeout(reload, LATE_MILLISECONDS);
    return;
  }
  // If the slider moved meanwhile, it has requested another reload.
  board.load(fresh.charts, fresh.points, boxOf, weight);
  if (stream && !stream.finished) stream.resume(fresh.commit);
  if (fresh.beside_live) scheduleOverlays();
}

// Connection ----------------------------------------------------------------------------------------------------------

/**
 * Show the age of the newest of these points once they are drawn.
 * @param {Record<string, Trace>} points
 */
function showDelay(points) {
  const newest = Math.max(...Object.values(points).map(({ time }) => time[time.length - 1] ?? 0));
  board.scheduleDraw(() => {
    if (!stream || stream.finished || stream.lostAt) return;
    const delay = Math.max(0, Date.now() - newest * 1000);
    live.textContent = `live · ${delay < 10_000 ? `${Math.round(delay)} ms` : `${Math.round(delay / 1000)} s`} behind`;
    live.dataset.behind = String(Math.round(delay));
    live.dataset.state = delay > LATE_MILLISECONDS ? "late" : "live";
  });
}

function showConnection() {
  if (!stream || stream.finished) return;
  const secondsSince = (/** @type {number} */ start) => Math.round((Date.now() - start) / 1000);
  if (stream.lostAt) {
    live.textContent = `reconnecting… ${secondsSince(stream.lostAt)} s`;
    live.dataset.state = "lost";
  } else if (Date.now() - stream.receivedAt > LATE_MILLISECONDS) {
    live.textContent = `live · no updates for ${secondsSince(stream.receivedAt)} s`;
    live.dataset.state = "quiet";
  } else if (live.dataset.state === "lost") {
    live.textContent = "live";
    live.dataset.state = "live";
  }
}

// Events --------------------------------------------------------------------------------------------------------------

// Throttled here: htmx's own throttle drops the last event, which reports how the run ended.
const headChanged = throttle(500, () => announce("run-changed"));
const yardChanged = throttle(2000, () => announce("yard-changed"));
const reloadSoon = throttle(RELOAD_MILLISECONDS, () => reload());
const epochEnded = throttle(1000, () => announce("epoch-ended"));
function changed() {
  headChanged();
  yardChanged();
}

/**
 * @param {string} event
 * @param {any} data whose shape depends on the event
 */
function onEvent(event, data) {
  switch (event) {
    case "metrics":
      if (board.append(data)) showDelay(data);
      else reloadSoon();
      if (Object.keys(data).some((name) => name.startsWith("val/"))) epochEnded();
      changed();
      break;
    case "reset":
      reload();
      changed();
      break;
    case "log":
      addLogLines(data);
      break;
    case "mark":
      document.dispatchEvent(new Event("run-marks"));
      break;
    case "status":
      announce("status-changed");
      changed();
      break;
    case "end":
      live.textContent = "";
      addLogLines([]); // says how many lines there are, no longer that it follows
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
