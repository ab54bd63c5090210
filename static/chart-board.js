/**
 * The board of a page: its charts, which share the x axis, the zoom and the cursor, and the controls above them.
 *
 * @typedef {{x: string, smoothing: number, log: boolean, logX: boolean, clip: boolean}} Controls
 * @typedef {{names: string[], first: number, last: number}} PartRequest
 * @typedef {[number, number]} Range
 */

/**
 * @import { Definition } from "./chart.js"
 * @import { Curve, Part, Trace } from "./curves.js"
 */

import { Chart } from "./chart.js";
import { fullRange } from "./chart-ranges.js";
import {
  appendPoints,
  canAppend,
  hasAxis,
  isTimeAxis,
  lowerBound,
  needsFinerPoints,
  ownerOf,
  stepRange,
  xValues,
} from "./curves.js";
import { areMilliseconds, rememberSteps, stepUnit } from "./step-axis.js";

/** After a draw that took t, the next one waits at least this many times t, so that long curves do not block the page. */
const IDLE_FACTOR = 3;
/** Boards with more charts build each chart when it becomes visible. */
const MAX_EAGER_CHARTS = 12;
/** Finer points are fetched once the viewer has stopped zooming for this long. */
const SETTLE_MILLISECONDS = 120;

export class ChartBoard {
  /**
   * @param {Controls} controls
   * @param {(zoom: Range | null) => void} onZoom
   */
  constructor(controls, onZoom) {
    this.controls = controls;
    this.onZoom = onZoom;
    /** @type {Record<string, Curve>} */
    this.curves = {};
    /** @type {Map<string, Chart>} */
    this.charts = new Map();
    /** @type {Range | null} */
    this.zoom = null;
    /** Whether the zoom moves along with the end of the curves as points arrive. */
    this.followsEnd = false;
    /** How many steps make up 1 on the axis of steps, and whether that axis shows the time since 1970. */
    this.stepUnit = 1;
    this.stepsAreTimes = false;
    /** The id of the highlighted curve; "" if none is. */
    this.highlighted = "";
    this.drawTimer = 0;
    this.drawnAt = 0;
    this.drawDuration = 0;
    /** @type {(() => void)[]} */
    this.afterDraw = [];
    /**
     * Fetches finer points of some curves; null if all curves are complete.
     * @type {((names: string[], first: number, last: number, weight: number, owner: string) => Promise<Record<string, Part> | null>) | null}
     */
    this.fetchPart = null;
    /** Fetches all curves, smoothed with the current weight. */
    this.reload = () => {};
    this.settleTimer = 0;
    this.requestCount = 0;
    document.addEventListener("theme-changed", () => this.rebuild());
  }

  /**
   * Show these curves in the boxes of these charts.
   * @param {Definition[]} definitions
   * @param {Record<string, Curve>} curves
   * @param {(definition: Definition) => HTMLElement | null} boxOf
   * @param {number} weight of the smoothing of the long curves
   */
  load(definitions, curves, boxOf, weight = 0) {
    this.curves = curves;
    for (const curve of Object.values(curves)) {
      curve.weight = weight;
      rememberSteps(curve);
    }
    this.measureSteps();
    for (const definition of definitions) {
      const box = boxOf(definition);
      if (!box) continue;
      const chart = this.charts.get(definition.key);
      if (chart?.box === box) {
        chart.definition = definition;
        continue;
      }
      chart?.destroy();
      this.charts.set(definition.key, new Chart(this, box, definition));
    }
    for (const chart of this.charts.values()) chart.measure();
    for (const chart of this.charts.values()) {
      if (chart.uplot) chart.refresh();
      else this.build(chart);
    }
    this.scheduleFinerPoints();
  }

  /** The axis that the charts label: "milliseconds" for steps that are times since 1970, else the chosen one. */
  get axis() {
    return this.controls.x === "step" && this.stepsAreTimes ? "milliseconds" : this.controls.x;
  }

  /** Whether the positions on the x axis are whole numbers. */
  get hasWholePositions() {
    return this.controls.x === "step" && this.stepUnit === 1;
  }

  measureSteps() {
    const curves = Object.values(this.curves);
    const ends = curves.flatMap(({ step }) => (step.length ? [step[0], step[step.length - 1]] : []));
    const unit = stepUnit(ends);
    // The zoom is in the old unit.
    if (unit !== this.stepUnit && this.controls.x === "step" && this.drawnAt) this.zoom = null;
    this.stepUnit = unit;
    for (const curve of curves) curve.unit = unit;
    this.stepsAreTimes = areMilliseconds(ends.map((step) => step / unit));
  }

  /** The series that the controls smooth. */
  noisySeries() {
    return [...this.charts.values()].flatMap(({ definition }) => definition.series.filter((series) => series.smooth));
  }

  /**
   * Append points. Returns false and appends nothing if the curves must be loaded again: one of them has no chart yet, or
   * is thinned out and gets points that precede its last one.
   * @param {Record<string, Trace>} points
   */
  append(points) {
    for (const [id, more] of Object.entries(points)) {
      if (!this.curves[id] || !canAppend(this.curves[id], more)) return false;
    }
    const noisy = new Set(this.noisySeries().map((series) => series.id));
    for (const [id, more] of Object.entries(points)) {
      rememberSteps(more);
      appendPoints(this.curves[id], more, noisy.has(id) ? this.controls.smoothing : 0);
    }
    this.scheduleDraw();
    return true;
  }

  /** Whether long curves lack their smoothed trace, which the server skips in the first page when time is short. */
  lacksSmoothing() {
    if (this.controls.smoothing <= 0) return false;
    return this.noisySeries().some(({ id }) => this.curves[id]?.coarse && !this.curves[id].even);
  }

  /** Draw in the next frame, once for all calls before it. @param {() => void} [done] called after the draw */
  scheduleDraw(done) {
    if (done) this.afterDraw.push(done);
    if (this.drawTimer) return;
    const wait = Math.max(0, this.drawnAt + IDLE_FACTOR * this.drawDuration - performance.now());
    this.drawTimer = setTimeout(() => requestAnimationFrame(() => this.draw()), wait);
  }

  draw() {
    this.drawTimer = 0;
    const start = performance.now();
    this.measureSteps();
    for (const chart of this.charts.values()) chart.refresh();
    this.drawnAt = performance.now();
    this.drawDuration = this.drawnAt - start;
    const callbacks = this.afterDraw;
    this.afterDraw = [];
    // In a task of its own: after the frame has been painted.
    setTimeout(() => {
      for (const callback of callbacks) callback();
    });
  }

  /** The x range of all curves together: without a zoom every chart shows it. */
  fullRange() {
    const { x, logX } = this.controls;
    /** @type {number[][]} */
    const ends = [];
    for (const curve of Object.values(this.curves)) {
      if (!curve.step.length || !hasAxis(curve, x)) continue;
      const second = logX && !isTimeAxis(x) ? lowerBound(curve.step, Number.MIN_VALUE) : 1;
      const [step, time] = [endsOf(curve.step, second), endsOf(curve.time, second)];
      ends.push(xValues({ step, value: [], time }, curve, x));
    }
    return fullRange(ends, this.axis, logX);
  }

  /**
   * The x range that the charts show.
   * @returns {Range}
   */
  visibleRange() {
    if (!this.zoom) return this.fullRange();
    if (!this.followsEnd) return this.zoom;
    const [low, high] = this.zoom;
    const shift = Math.max(0, this.fullRange()[1] - high);
    return [low + shift, high + shift];
  }

  /** Highlight a curve and its run on every chart; "" to stop. */
  highlight(/** @type {string} */ id) {
    if (id === this.highlighted) return;
    this.highlighted = id;
    for (const chart of this.charts.values()) chart.updateHighlight();
  }

  /** Rebuild every chart. */
  rebuild() {
    for (const chart of this.charts.values()) this.build(chart);
    this.scheduleFinerPoints();
  }

  /** Build a chart now, or on a large board once it is visible. */
  build(/** @type {Chart} */ chart) {
    if (this.charts.size > MAX_EAGER_CHARTS && !chart.visible) chart.unbuilt = true;
    else chart.build();
  }

  scheduleFinerPoints() {
    if (!this.fetchPart) return;
    clearTimeout(this.settleTimer);
    this.settleTimer = setTimeout(() => this.loadFinerPoints(), SETTLE_MILLISECONDS);
  }

  async loadFinerPoints() {
    if (!this.zoom || !this.fetchPart) return;
    const weight = this.controls.smoothing;
    const requests = this.partRequests(this.visibleRange(), weight);
    if (!requests.size) return;
    const number = ++this.requestCount;
    await Promise.all([...requests].map(([owner, request]) => this.loadPart(owner, request, weight, number)));
  }

  /**
   * The finer points that the visible charts lack, by owner.
   * @param {Range} range
   * @param {number} weight
   */
  partRequests(range, weight) {
    /** @type {Map<string, PartRequest>} */
    const requests = new Map();
    for (const chart of this.charts.values()) {
      if (!chart.visible) continue;
      for (const { id, smooth } of chart.definition.series) {
        const curve = this.curves[id];
        if (!curve?.coarse) continue;
        const [first, to] = stepRange(curve, this.controls.x, range);
        if (!needsFinerPoints(curve, first, to, smooth ? weight : 0)) continue;
        const owner = ownerOf(id);
        const request = requests.get(owner) ?? { names: [], first: Infinity, last: -Infinity };
        request.names.push(owner ? id.slice(owner.length + 1) : id);
        request.first = Math.min(request.first, first);
        request.last = Math.max(request.last, to);
        requests.set(owner, request);
      }
    }
    return requests;
  }

  /**
   * @param {string} owner of the curves; "" for the page's own run
   * @param {PartRequest} request
   * @param {number} weight
   * @param {number} number of the request: the response to an older one is ignored
   */
  async loadPart(owner, { names, first, last }, weight, number) {
    const parts = await this.fetchPart?.(names, first, last, weight, owner);
    if (number !== this.requestCount || !parts) return;
    for (const [name, part] of Object.entries(parts)) {
      const curve = this.curves[owner ? `${owner}:${name}` : name];
      rememberSteps(part);
      if (curve) curve.part = { ...part, first, last: Math.min(last, curve.step[curve.step.length - 1]), weight };
    }
    this.scheduleDraw();
  }

  /** @param {Range | null} range null to show everything */
  zoomTo(range) {
    this.zoom = range;
    this.followsEnd = range !== null && range[1] >= this.fullRange()[1];
    for (const chart of this.charts.values()) {
      if (chart.visible) chart.applyZoom();
      else chart.stale = true;
    }
    this.onZoom(range);
    this.scheduleFinerPoints();
  }
}

/** The first value, the one at `second`, where positive steps begin, and the last one. */
function endsOf(/** @type {number[]} */ values, /** @type {number} */ second) {
  return [values[0], values[Math.min(second, values.length - 1)], values[values.length - 1]];
}
