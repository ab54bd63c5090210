/**
 * The charts of a page, which share the x axis, the zoom and the cursor, and the controls above them.
 *
 * @typedef {import("./curves.js").Points} Points
 * @typedef {import("./chart.js").Definition} Definition
 * @typedef {{x: string, smoothing: number, log: boolean, logX: boolean, clip: boolean}} Controls
 */

import { Chart } from "./chart.js";
import { append, ownerOf, standsOn, stepsOf, wantsFiner, xOf } from "./curves.js";

const REST = 3;
const MANY_CHARTS = 12;
const LOOKED_MILLISECONDS = 120;

export class Board {
  /**
   * @param {Controls} controls
   * @param {(zoom: [number, number] | null) => void} onZoom
   */
  constructor(controls, onZoom) {
    this.controls = controls;
    this.onZoom = onZoom;
    /** @type {Record<string, Points>} */
    this.points = {};
    /** @type {Map<string, Chart>} */
    this.charts = new Map();
    /** @type {[number, number] | null} */
    this.zoom = null;
    /** Whether what is zoomed to is the end, and stays it while points arrive. */
    this.following = false;
    /** The curve that stands out, with all of its run; empty when none does. */
    this.lit = "";
    this.frame = 0;
    this.drawnAt = 0;
    this.cost = 0;
    /** @type {(() => void)[]} */
    this.afterPaint = [];
    /**
     * Reads finer points of a part of some curves; null where every curve is held whole.
     * @type {((names: string[], first: number, last: number, weight: number, owner: string) => Promise<Record<string, any>>) | null}
     */
    this.readPart = null;
    /** Reads everything anew, smoothed with the weight that the controls now have. */
    this.readAnew = () => {};
    this.finer = 0;
    this.asked = 0;
    document.addEventListener("theme-changed", () => this.rebuild());
  }

  /**
   * Take over the boxes of these definitions with these points.
   * @param {Definition[]} definitions
   * @param {Record<string, Points>} points
   * @param {(definition: Definition) => HTMLElement | null} boxOf
   * @param {number} weight with which the long ones of them were smoothed
   */
  load(definitions, points, boxOf, weight = 0) {
    this.points = points;
    for (const held of Object.values(points)) held.weight = weight;
    for (const definition of definitions) {
      const box = boxOf(definition);
      if (!box) continue;
      const known = this.charts.get(definition.key);
      if (known?.box === box) {
        known.definition = definition;
        continue;
      }
      known?.destroy();
      this.charts.set(definition.key, new Chart(this, box, definition));
    }
    for (const chart of this.charts.values()) chart.measure();
    for (const chart of this.charts.values()) {
      if (chart.uplot) chart.refresh();
      else this.build(chart);
    }
    this.look();
  }

  /**
   * Append points; false, and nothing is appended, when there is a metric among them that no chart shows yet.
   * @param {Record<string, {step: number[], value: (number | null)[], time: number[]}>} fresh
   */
  append(fresh) {
    for (const id of Object.keys(fresh)) if (!this.points[id]) return false;
    const noisy = new Set([...this.charts.values()].flatMap(({ definition }) => definition.series.filter((series) => series.smooth).map((series) => series.id)));
    for (const [id, more] of Object.entries(fresh)) append(this.points[id], more, noisy.has(id) ? this.controls.smoothing : 0);
    this.draw();
    return true;
  }

  /** Whether there are curves that are to be smoothed and that the server had no time to smooth for the first paint. */
  unsmoothed() {
    const noisy = [...this.charts.values()].flatMap(({ definition }) => definition.series.filter((series) => series.smooth));
    return this.controls.smoothing > 0 && noisy.some(({ id }) => this.points[id]?.coarse && !this.points[id].even);
  }

  /** Draw with the next frame, once for all that came before it. */
  draw(/** @type {(() => void) | undefined} */ done = undefined) {
    if (done) this.afterPaint.push(done);
    if (this.frame) return;
    // Curves of a million points are drawn less often, so that the page stays quick.
    const wait = Math.max(0, this.drawnAt + REST * this.cost - performance.now());
    this.frame = setTimeout(() => requestAnimationFrame(() => this.paint()), wait);
  }

  paint() {
    this.frame = 0;
    const start = performance.now();
    for (const chart of this.charts.values()) chart.refresh();
    this.drawnAt = performance.now();
    this.cost = this.drawnAt - start;
    const waiting = this.afterPaint;
    this.afterPaint = [];
    // After the frame is on the screen.
    if (waiting.length) setTimeout(() => waiting.forEach((each) => each()));
  }

  /** From where the first point of any curve stands to the last one, so that all charts agree without a zoom. */
  whole() {
    const { x, logX } = this.controls;
    let [low, high] = [Infinity, -Infinity];
    for (const points of Object.values(this.points)) {
      if (!points.step.length || !standsOn(points, x)) continue;
      const ends = xOf({ step: endsOf(points.step), value: [], time: endsOf(points.time) }, points, x);
      low = Math.min(low, ...(logX ? ends.filter((each) => each > 0) : ends));
      high = Math.max(high, ends[ends.length - 1]);
    }
    if (logX) return high > low ? [low, high] : [0.1, 1];
    if (x === "step" || x === "epoch") low = Math.min(low, 0);
    return high > low ? [low, high] : [low - 0.5, high + 0.5];
  }

  /** What of the x axis is in sight. */
  sight() {
    if (!this.zoom || !this.following) return this.zoom ?? this.whole();
    const [, end] = this.whole();
    const ahead = Math.max(0, end - this.zoom[1]);
    return /** @type {[number, number]} */ ([this.zoom[0] + ahead, this.zoom[1] + ahead]);
  }

  /** Let a curve stand out, with all of its run, on every chart; none when it is empty. */
  light(/** @type {string} */ id) {
    if (id === this.lit) return;
    this.lit = id;
    for (const chart of this.charts.values()) chart.relight();
  }

  /** Build every chart anew. */
  rebuild() {
    for (const chart of this.charts.values()) this.build(chart);
    this.look();
  }

  /** Build a chart: at once, or one of very many when it comes into sight. */
  build(/** @type {Chart} */ chart) {
    if (this.charts.size > MANY_CHARTS && !chart.inSight) chart.unbuilt = true;
    else chart.build();
  }

  /** Read finer points of what is in sight, once the viewer has come to rest there. */
  look() {
    if (!this.readPart) return;
    clearTimeout(this.finer);
    this.finer = setTimeout(() => this.readFiner(), LOOKED_MILLISECONDS);
  }

  async readFiner() {
    const weight = this.controls.smoothing;
    const range = this.sight();
    /** @type {Map<string, {names: string[], first: number, last: number}>} */
    const wanted = new Map();
    for (const chart of this.zoom && this.readPart ? this.charts.values() : []) {
      if (!chart.inSight) continue;
      for (const series of chart.definition.series) {
        const held = this.points[series.id];
        if (!held?.coarse) continue;
        const [from, to] = stepsOf(held, this.controls.x, range);
        if (!wantsFiner(held, Math.max(0, from), to, series.smooth ? weight : 0)) continue;
        const owner = ownerOf(series.id);
        const asked = wanted.get(owner) ?? { names: [], first: Infinity, last: 0 };
        asked.names.push(owner ? series.id.slice(owner.length + 1) : series.id);
        asked.first = Math.min(asked.first, Math.max(0, from));
        asked.last = Math.max(asked.last, to);
        wanted.set(owner, asked);
      }
    }
    if (!wanted.size) return;
    const number = ++this.asked;
    await Promise.all([...wanted].map(([owner, asked]) => this.readPartOf(owner, asked, weight, number)));
  }

  /**
   * @param {string} owner the run whose curves they are, if it is another than the page's own
   * @param {{names: string[], first: number, last: number}} asked
   * @param {number} weight
   * @param {number} number of this asking
   */
  async readPartOf(owner, { names, first, last }, weight, number) {
    const found = await this.readPart?.(names, first, last, weight, owner);
    // What was asked for since is nearer to what is in sight now.
    if (number !== this.asked || !found) return;
    for (const [name, part] of Object.entries(found)) {
      const held = this.points[owner ? `${owner}:${name}` : name];
      if (held) held.part = { ...part, first, last: Math.min(last, held.step[held.step.length - 1]), weight };
    }
    this.draw();
  }

  /** @param {[number, number] | null} range */
  zoomTo(range) {
    this.zoom = range;
    const [, end] = this.whole();
    this.following = range !== null && range[1] >= end;
    for (const chart of this.charts.values()) {
      if (chart.inSight) chart.applyZoom();
      else chart.stale = true;
    }
    this.onZoom(range);
    this.look();
  }
}

/** The first two of which one is above 0, and the last. */
function endsOf(/** @type {number[]} */ values) {
  return [values[0], values[Math.min(1, values.length - 1)], values[values.length - 1]];
}

/**
 * The controls above the charts; what they say stands in the address.
 * @param {HTMLFormElement} form
 * @returns {Controls}
 */
export function readControls(form) {
  const said = new FormData(form);
  return {
    x: String(said.get("x") ?? "step"),
    smoothing: Number(said.get("smoothing") ?? 0),
    log: said.has("log"),
    // The logarithm of an instant says nothing.
    logX: said.has("logx") && said.get("x") !== "clock",
    clip: said.has("clip"),
  };
}

/**
 * A board whose controls, zoom and address follow one another.
 * @param {HTMLFormElement} form
 */
export function boardOf(form) {
  window.runyard = { charts: {} };
  const reset = /** @type {HTMLElement} */ (form.querySelector("[data-reset-zoom]"));
  // What only a browser can do, the server's form knows nothing of.
  for (const name of ["logx", "clip"]) {
    const box = /** @type {HTMLInputElement | null} */ (form.querySelector(`[name=${name}]`));
    if (box) box.checked = new URLSearchParams(location.search).get(name) === "1";
  }
  const board = new Board(readControls(form), (zoom) => {
    reset.hidden = zoom === null;
    write();
  });
  window.runyard.board = board;
  const write = () => {
    const address = new URL(location.href);
    const { x, smoothing, log, logX, clip } = board.controls;
    address.searchParams.set("x", x);
    address.searchParams.set("smoothing", smoothing.toFixed(2));
    for (const [name, on] of /** @type {[string, boolean][]} */ ([["log", log], ["logx", logX], ["clip", clip]])) {
      if (on) address.searchParams.set(name, "1");
      else address.searchParams.delete(name);
    }
    const short = (/** @type {number} */ value) => Number(value.toPrecision(x === "clock" ? 13 : 6));
    // A view that follows the end is that of so much at the end, whenever it is opened.
    if (board.zoom && board.following) address.searchParams.set("zoom", `last,${short(board.zoom[1] - board.zoom[0])}`);
    else if (board.zoom) address.searchParams.set("zoom", board.zoom.map(short).join(","));
    else address.searchParams.delete("zoom");
    history.replaceState(history.state, "", address);
  };
  const said = new URLSearchParams(location.search).get("zoom")?.split(",") ?? [];
  board.following = said[0] === "last";
  const [low, high] = said.map((each) => (each === "last" ? 0 : Number(each)));
  if (low < high) {
    board.zoom = [low, high];
    reset.hidden = false;
  }
  reset.addEventListener("click", () => board.zoomTo(null));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    const { x: before, logX: beforeLog } = board.controls;
    board.controls = readControls(form);
    const output = form.querySelector("output");
    if (output) output.value = board.controls.smoothing.toFixed(2);
    if (before !== board.controls.x || beforeLog !== board.controls.logX) {
      board.zoom = null;
      reset.hidden = true;
    }
    if (board.controls.smoothing > 0 && Object.values(board.points).some((held) => held.coarse && held.weight !== board.controls.smoothing)) board.readAnew();
    board.rebuild();
    write();
  });
  return board;
}
