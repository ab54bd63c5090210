/** A run's page: what it reports is drawn as it comes, from the commit on that the page was made at. */

import { arrange, filterable, place } from "./chart-layout.js";
import { boardOf } from "./board.js";
import { ownerOf } from "./curves.js";
import { announce, debounced, Stream, throttled } from "./live.js";
import { tail } from "./log.js";
import { readPart } from "./parts.js";
import { showInTab } from "./tab.js";

const FEW_MILLISECONDS = 250;
const LATE_MILLISECONDS = 3000;
const BESIDE_MILLISECONDS = 4000;

const run = document.body.dataset.run ?? "";
const live = /** @type {HTMLElement} */ (document.getElementById("live"));
const charts = /** @type {HTMLElement} */ (document.getElementById("charts"));
const board = boardOf(/** @type {HTMLFormElement} */ (document.getElementById("controls")));
const embedded = JSON.parse(document.getElementById("points")?.textContent ?? "{}");

/** @type {Stream | null} */
let stream = null;
/** When the curves that are laid over this run's are read again. */
let besides = 0;

arrange(charts);
filterable(charts, /** @type {HTMLInputElement | null} */ (document.getElementById("chart-filter")));
board.readPart = (names, first, last, weight, owner) => readPart(owner || run, names, first, last, weight);
board.readAnew = debounced(FEW_MILLISECONDS, () => reload());
board.load(embedded.charts, embedded.points, boxOf, board.controls.smoothing);
// What the server had no time to smooth for the first paint.
if (board.unsmoothed()) reload();
else if (embedded.beside_live) readBesideLater();

const addLines = tail(() => stream !== null && !stream.over);
if (document.body.dataset.stream) {
  stream = new Stream(document.body.dataset.stream, hear, Number(document.body.dataset.after));
  stream.onconnection = sayConnection;
  setInterval(sayConnection, 1000);
}
showInTab();
document.addEventListener("htmx:afterSettle", showInTab);

// Boxes ---------------------------------------------------------------------------------------------------------------

/** @param {import("./chart.js").Definition} definition */
function boxOf(definition) {
  const known = /** @type {HTMLElement | null} */ (charts.querySelector(`[data-chart="${CSS.escape(definition.key)}"]`));
  const box = known ?? newBox(definition);
  const keys = /** @type {HTMLElement} */ (box.querySelector(".keys"));
  if (keys.childElementCount !== definition.series.length) keys.replaceChildren(...definition.series.map((series) => keyOf(series, definition.title)));
  return box;
}

/** @param {import("./chart.js").Definition} definition */
function newBox(definition) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("chart-box"));
  const box = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  box.dataset.chart = definition.key;
  box.id = `chart-${definition.key.replaceAll("/", "-")}`;
  /** @type {HTMLElement} */ (box.querySelector("h2")).textContent = definition.title;
  const group = charts.querySelector(`[data-group="${CSS.escape(definition.group)}"]`) ?? newGroup(definition.group);
  group.querySelector(".charts")?.append(box);
  const count = /** @type {HTMLElement} */ (group.querySelector("summary .soft"));
  count.textContent = String(group.querySelectorAll("figure.chart").length);
  place(group);
  return box;
}

/** @param {string} name */
function newGroup(name) {
  const template = /** @type {HTMLTemplateElement} */ (document.getElementById("chart-group"));
  const group = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  group.dataset.group = name;
  /** @type {HTMLElement} */ (group.querySelector("h2")).textContent = name;
  charts.querySelector("#charts-none")?.before(group);
  return group;
}

/**
 * @param {import("./chart.js").Series} series
 * @param {string} title of its chart
 */
function keyOf(series, title) {
  const key = document.createElement("span");
  key.className = series.css;
  key.dataset.series = series.id;
  const dot = document.createElement("span");
  dot.className = `dot ${series.css}`;
  const value = document.createElement("b");
  value.dataset.readout = series.id;
  key.append(dot, series.label === title ? "" : series.label, value);
  return key;
}

// Points --------------------------------------------------------------------------------------------------------------

/** What the address says of the runs that are laid over this one. */
function beside() {
  const said = new URLSearchParams(location.search);
  const asked = new URLSearchParams();
  for (const word of said.getAll("with")) asked.append("with", word);
  if (said.get("baseline")) asked.set("baseline", said.get("baseline") ?? "");
  return asked;
}

/** This page's stream tells of its own run: what lies beside it and still trains is read now and then. */
function readBesideLater() {
  clearTimeout(besides);
  besides = setTimeout(readBeside, BESIDE_MILLISECONDS);
}

async function readBeside() {
  const weight = board.controls.smoothing;
  const fresh = document.hidden ? null : await readPoints(weight);
  if (!fresh) {
    readBesideLater();
    return;
  }
  for (const [id, points] of Object.entries(fresh.points)) {
    if (!ownerOf(id)) continue;
    // A curve that was not there before has no place on its chart yet.
    if (!board.points[id]) return reload();
    board.points[id] = { ...points, weight, part: board.points[id].part };
  }
  board.draw();
  if (fresh.beside_live) readBesideLater();
}

/** The curves as the server has them now; null while it does not answer. */
async function readPoints(/** @type {number} */ weight) {
  const asked = beside();
  asked.set("smoothing", weight.toFixed(2));
  const answer = await fetch(`/runs/${run}/points?${asked}`).catch(() => null);
  return answer?.ok ? answer.json() : null;
}

/** Read the curves anew and go on from the commit they were read at. */
async function reload() {
  const weight = board.controls.smoothing;
  const fresh = await readPoints(weight);
  if (!fresh) {
    // The stream comes back, and with it what is missing here.
    setTimeout(reload, LATE_MILLISECONDS);
    return;
  }
  // A weight that was set meanwhile is asked for by the slider itself.
  board.load(fresh.charts, fresh.points, boxOf, weight);
  if (stream && !stream.over) stream.resume(fresh.commit);
  if (fresh.beside_live) readBesideLater();
}

// Connection ----------------------------------------------------------------------------------------------------------

/** How long ago the newest of these points was made, said once they are on the screen. */
function sayHowFarBehind(/** @type {Record<string, {time: number[]}>} */ fresh) {
  const newest = Math.max(...Object.values(fresh).map((points) => points.time[points.time.length - 1] ?? 0));
  board.draw(() => {
    if (!stream || stream.over || stream.lostAt) return;
    const behind = Math.max(0, Date.now() - newest * 1000);
    live.textContent = `live · ${behind < 10_000 ? `${Math.round(behind)} ms` : `${Math.round(behind / 1000)} s`} behind`;
    live.dataset.behind = String(Math.round(behind));
    live.dataset.state = behind > LATE_MILLISECONDS ? "late" : "live";
  });
}

function sayConnection() {
  if (!stream || stream.over) return;
  const now = Date.now();
  if (stream.lostAt) {
    live.textContent = `reconnecting… ${Math.round((now - stream.lostAt) / 1000)} s`;
    live.dataset.state = "lost";
  } else if (now - stream.heardAt > LATE_MILLISECONDS) {
    live.textContent = `live · nothing new for ${Math.round((now - stream.heardAt) / 1000)} s`;
    live.dataset.state = "quiet";
  } else if (live.dataset.state === "lost") {
    live.textContent = "live";
    live.dataset.state = "live";
  }
}

// What the stream says ------------------------------------------------------------------------------------------------

// Fragments have no throttle of their own: htmx's drops the last event, the one that says how it ended.
const headChanged = throttled(500, () => announce("run-changed"));
const yardChanged = throttled(2000, () => announce("yard-changed"));
const epochEnded = throttled(1000, () => announce("epoch-ended"));
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
      else reload();
      if (Object.keys(data).some((name) => name.startsWith("val/"))) epochEnded();
      changed();
      break;
    case "reset":
      reload();
      changed();
      break;
    case "log":
      addLines(data);
      break;
    case "mark":
      document.dispatchEvent(new CustomEvent("run-marks", { detail: data }));
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
