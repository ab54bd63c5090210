/** The controls above the charts of a page. The page's URL keeps their values and the zoom. */

/** @import { Controls } from "./chart-board.js" */

import { ChartBoard } from "./chart-board.js";
import { formatZoom, parseZoom } from "./chart-ranges.js";
import { get, query } from "./dom.js";

/**
 * @param {HTMLFormElement} form
 * @returns {Controls}
 */
function readControls(form) {
  const data = new FormData(form);
  const x = String(data.get("x") ?? "step");
  return {
    x,
    smoothing: Number(data.get("smoothing") ?? 0),
    log: data.has("log"),
    // A logarithm of wall-clock time has no meaning.
    logX: data.has("logx") && x !== "clock",
    clip: data.has("clip"),
  };
}

/** @param {ChartBoard} board */
function writeUrl(board) {
  const url = new URL(location.href);
  const { x, smoothing, log, logX, clip } = board.controls;
  const toggle = (/** @type {string} */ name, /** @type {string | null} */ value) => {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  };
  toggle("x", x);
  toggle("smoothing", smoothing.toFixed(2));
  toggle("log", log ? "1" : null);
  toggle("logx", logX ? "1" : null);
  toggle("clip", clip ? "1" : null);
  toggle("zoom", board.zoom && formatZoom(board.zoom, board.followsEnd, x));
  history.replaceState(history.state, "", url);
}

/**
 * Create the board of a page from its controls and its URL.
 * @param {HTMLFormElement} form
 */
export function createBoard(form) {
  const reset = get(form, "[data-reset-zoom]", HTMLElement);
  const parameters = new URLSearchParams(location.search);
  // The server's form ignores these two: only the browser's charts have them.
  for (const name of ["logx", "clip"]) {
    const box = query(form, `[name=${name}]`, HTMLInputElement);
    if (box) box.checked = parameters.get(name) === "1";
  }
  const board = new ChartBoard(readControls(form), (zoom) => {
    reset.hidden = zoom === null;
    writeUrl(board);
  });
  window.runyard = { charts: {}, board };
  const { zoom, followsEnd } = parseZoom(parameters.get("zoom"));
  board.zoom = zoom;
  board.followsEnd = followsEnd;
  if (zoom) reset.hidden = false;
  reset.addEventListener("click", () => board.zoomTo(null));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const before = board.controls;
    board.controls = readControls(form);
    const { x, logX, smoothing } = board.controls;
    const output = query(form, "output", HTMLOutputElement);
    if (output) output.value = smoothing.toFixed(2);
    if (before.x !== x || before.logX !== logX) {
      board.zoom = null;
      reset.hidden = true;
    }
    if (smoothing > 0 && Object.values(board.curves).some((curve) => curve.coarse && curve.weight !== smoothing)) {
      board.reload();
    }
    board.rebuild();
    writeUrl(board);
  });
  return board;
}
