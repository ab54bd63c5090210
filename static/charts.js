/**
 * Charts drawn by uPlot over what the server drew: all charts of a page share the x axis, the zoom and the cursor.
 *
 * @typedef {import("./curves.js").Points} Points
 * @typedef {{id: string, label: string, css: string, smooth: boolean, href: string, against: string}} Series
 * @typedef {{key: string, title: string, unit: string, log: boolean, series: Series[], group: string}} Definition
 * @typedef {{x: string, smoothing: number, log: boolean, logX: boolean, clip: boolean}} Controls
 */

import { addMenu } from "./chart-menu.js";
import { clippedRange, closeRange, ticks, wholeIncrements, written, writtenDelta, writtenX } from "./chart-words.js";
import { append, even, raw, stepsOf, wantsFiner, xOf } from "./curves.js";
import { drawMarks } from "./marks.js";

const POINTS_WITH_DOTS = 50;
const REST = 3;
const MANY_CHARTS = 12;
const LOOKED_MILLISECONDS = 120;
/** So far outside of the window a chart is drawn as if it were in it. */
const NEAR_PIXELS = 150;

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
    this.frame = 0;
    this.drawnAt = 0;
    this.cost = 0;
    /** @type {(() => void)[]} */
    this.afterPaint = [];
    /**
     * Reads finer points of a part of some curves; null where every curve is held whole.
     * @type {((names: string[], first: number, last: number, weight: number) => Promise<Record<string, any>>) | null}
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
      this.charts.get(definition.key)?.destroy();
      this.charts.set(definition.key, new Chart(this, box, definition));
    }
    for (const chart of this.charts.values()) chart.measure();
    this.rebuild();
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
      if (!points.step.length) continue;
      const ends = xOf({ step: ends_of(points.step), value: [], time: ends_of(points.time) }, points, x);
      low = Math.min(low, ends[0]);
      high = Math.max(high, ends[ends.length - 1]);
    }
    if (logX) return high > 0 ? [low > 0 ? low : high / 1e4, high] : [0.1, 1];
    if (x !== "time") low = Math.min(low, 0);
    return high > low ? [low, high] : [low - 0.5, high + 0.5];
  }

  /** What of the x axis is in sight. */
  sight() {
    if (!this.zoom || !this.following) return this.zoom ?? this.whole();
    const [, end] = this.whole();
    const ahead = Math.max(0, end - this.zoom[1]);
    return /** @type {[number, number]} */ ([this.zoom[0] + ahead, this.zoom[1] + ahead]);
  }

  /** Build every chart anew: at once, or of very many those in sight, and the others when they come into it. */
  rebuild() {
    const lazy = this.charts.size > MANY_CHARTS;
    for (const chart of this.charts.values()) {
      if (lazy && !chart.inSight) chart.unbuilt = true;
      else chart.build();
    }
    this.look();
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
    const wanted = [];
    let [first, last] = [Infinity, 0];
    for (const chart of this.zoom && this.readPart ? this.charts.values() : []) {
      if (!chart.inSight) continue;
      for (const series of chart.definition.series) {
        const held = this.points[series.id];
        if (!held?.coarse || series.id.includes(":")) continue;
        const [from, to] = stepsOf(held, this.controls.x, range);
        if (!wantsFiner(held, Math.max(0, from), to, series.smooth ? weight : 0)) continue;
        wanted.push(series.id);
        first = Math.min(first, Math.max(0, from));
        last = Math.max(last, to);
      }
    }
    if (!wanted.length || !this.readPart) return;
    const number = ++this.asked;
    const found = await this.readPart(wanted, first, last, weight);
    // What was asked for since is nearer to what is in sight now.
    if (number !== this.asked || !found) return;
    for (const [id, part] of Object.entries(found)) {
      const held = this.points[id];
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

class Chart {
  /**
   * @param {Board} board
   * @param {HTMLElement} box
   * @param {Definition} definition
   */
  constructor(board, box, definition) {
    this.board = board;
    this.box = box;
    this.definition = definition;
    this.plot = /** @type {HTMLElement} */ (box.querySelector(".plot"));
    addMenu(this);
    /** @type {any} */
    this.uplot = null;
    this.inSight = true;
    /** Whether it has to be built, or only drawn, when it comes into sight. */
    this.unbuilt = false;
    this.stale = false;
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.plot);
    this.sights = new IntersectionObserver(([entry]) => this.seen(entry.isIntersecting), { rootMargin: `${NEAR_PIXELS}px` });
    this.sights.observe(box);
  }

  /** Whether it is in sight, before its observer says so. */
  measure() {
    const { top, bottom } = this.box.getBoundingClientRect();
    this.inSight = bottom > -NEAR_PIXELS && top < innerHeight + NEAR_PIXELS;
  }

  /** @param {boolean} inSight */
  seen(inSight) {
    const comes = inSight && !this.inSight;
    this.inSight = inSight;
    if (!comes) return;
    if (this.unbuilt) this.build();
    else if (this.stale) this.refresh();
    if (this.board.zoom) this.board.look();
  }

  destroy() {
    this.sizes.disconnect();
    this.sights.disconnect();
    this.uplot?.destroy();
    this.uplot = null;
  }

  /**
   * The series that have points, and for each what is drawn: raw, or faint raw below smooth, after the ends of its band.
   * @returns {{series: Series, points: Points, kind: "high" | "low" | "faint" | "smooth" | "plain"}[]}
   */
  drawn() {
    const weight = this.board.controls.smoothing;
    /** @type {ReturnType<Chart["drawn"]>} */
    const found = [];
    for (const series of this.definition.series) {
      const points = this.board.points[series.id];
      if (!points) continue;
      // A long curve that is not smoothed yet is shown as it is.
      const smooth = series.smooth && weight > 0 && (!points.coarse || (points.even !== undefined && points.weight === weight));
      if (points.low && points.high) found.push({ series, points, kind: "high" }, { series, points, kind: "low" });
      if (smooth) found.push({ series, points, kind: "faint" });
      found.push({ series, points, kind: smooth ? "smooth" : "plain" });
    }
    return found;
  }

  data() {
    const { x, smoothing, log, logX } = this.board.controls;
    const positive = log && this.definition.log;
    const tables = this.drawn().map(({ points, kind }) => {
      const trace = (kind === "smooth" && even(points, smoothing)) || raw(points);
      let values = (kind === "low" ? points.low : kind === "high" ? points.high : trace.value) ?? [];
      if (positive) values = values.map((value) => (value !== null && value > 0 ? value : null));
      const xs = xOf(trace, points, x);
      // Nothing at 0 or before it has a place on a logarithmic axis.
      return logX ? [xs.filter((each) => each > 0), values.filter((_, i) => xs[i] > 0)] : [xs, values];
    });
    if (!tables.length) return null;
    // Where a curve has no point it is `undefined` and the line goes through; a value that was NaN is null: a gap.
    return tables.length > 1 ? window.uPlot.join(tables) : tables[0];
  }

  build() {
    this.unbuilt = this.stale = false;
    this.uplot?.destroy();
    this.uplot = null;
    const data = window.uPlot && this.plot.clientWidth ? this.data() : null;
    this.count();
    // Where uPlot could not be loaded, what the server drew stays.
    if (!data) {
      delete window.runyard.charts[this.definition.key];
      return;
    }
    const { x, log, logX, clip } = this.board.controls;
    const look = getComputedStyle(this.box);
    const axis = { stroke: this.colourOf("--faint"), font: `11px ${look.fontFamily}`, ticks: { show: false } };
    const grid = { stroke: this.colourOf("--line"), width: 1 };
    const write = ticks(x, this.definition.unit);
    const series = this.drawn().map(({ series, kind }) => ({
      label: series.label,
      stroke: isBandEnd(kind) ? undefined : this.colourOfSeries(series.css),
      alpha: kind === "faint" ? 0.3 : 1,
      width: isBandEnd(kind) ? 0 : kind === "faint" ? 1 : 1.75,
      dash: kind === "faint" ? undefined : this.dashOf(series.css),
      spanGaps: false,
      points: {
        show: () => kind !== "faint" && !isBandEnd(kind) && (this.board.points[series.id]?.step.length ?? 0) <= POINTS_WITH_DOTS,
        size: 5,
        fill: this.colourOfSeries(series.css),
        width: 0,
      },
    }));
    const options = {
      width: this.plot.clientWidth,
      height: this.plot.clientHeight,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        sync: { key: "runyard", scales: ["x", null] },
        bind: { dblclick: () => () => this.board.zoomTo(null) },
        points: { size: 6 },
      },
      scales: {
        x: logX ? { time: false, distr: 3 } : { time: false },
        y: log && this.definition.log ? { distr: 3 } : { distr: 1, range: clip ? clippedRange : closeRange },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 26, gap: 4, space: 64, values: write.x, incrs: x === "time" || logX ? undefined : wholeIncrements },
        { ...axis, grid, size: 46, gap: 5, space: 36, values: write.y },
      ],
      series: [{}, ...series],
      bands: this.drawn().flatMap(({ series, kind }, i) =>
        kind === "high" ? [{ series: [i + 1, i + 2], fill: this.colourOfSeries(series.css).replace(/^rgb\(/, "rgba(").replace(/\)$/, ", .16)") }] : [],
      ),
      plugins: [drawMarks(this.board)],
      hooks: {
        setSelect: [(/** @type {any} */ u) => this.select(u)],
        setCursor: [(/** @type {any} */ u) => this.readOut(u)],
      },
    };
    this.plot.replaceChildren();
    this.uplot = new window.uPlot(options, data, this.plot);
    window.runyard.charts[this.definition.key] = this.uplot;
    this.applyZoom();
    this.readOut(this.uplot);
    this.box.dispatchEvent(new CustomEvent("chart-built", { bubbles: true, detail: this.uplot }));
  }

  refresh() {
    this.count();
    if (!this.inSight) {
      this.stale = true;
      return;
    }
    this.stale = false;
    if (!this.uplot) {
      this.build();
      return;
    }
    const drawn = this.drawn();
    if (drawn.length !== this.uplot.series.length - 1) {
      this.build();
      return;
    }
    this.uplot.batch(() => {
      this.uplot.setData(this.data(), false);
      this.applyZoom();
    });
    this.readOut(this.uplot);
  }

  count() {
    const ids = this.definition.series.map((series) => series.id);
    this.box.dataset.points = String(ids.reduce((sum, id) => sum + (this.board.points[id]?.step.length ?? 0), 0));
  }

  applyZoom() {
    if (!this.uplot) return;
    const [low, high] = this.board.sight();
    this.uplot.setScale("x", { min: low, max: high });
  }

  /** @param {any} u */
  select(u) {
    if (u.select.width < 4) return;
    const range = /** @type {[number, number]} */ ([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.board.zoomTo(range);
  }

  /** @param {any} u */
  readOut(u) {
    const at = u.cursor.idx;
    const { unit } = this.definition;
    const drawn = this.drawn();
    const valueOf = (/** @type {number} */ i) => {
      const values = u.data[i + 1];
      if (!values) return undefined;
      let index = at ?? values.length - 1;
      while (index > 0 && (values[index] === undefined || values[index] === null)) index--;
      return values[index];
    };
    drawn.forEach(({ series, kind }, i) => {
      if (kind === "faint" || isBandEnd(kind)) return;
      const place = this.box.querySelector(`[data-readout="${CSS.escape(series.id)}"]`);
      if (!place) return;
      const value = valueOf(i);
      place.textContent = written(value, unit);
      const delta = this.box.querySelector(`[data-delta="${CSS.escape(series.id)}"]`);
      if (!delta) return;
      const base = valueOf(drawn.findIndex((each) => each.series.id === series.against && (each.kind === "plain" || each.kind === "smooth")));
      delta.textContent = value == null || base == null ? "" : `Δ ${writtenDelta(value - base, unit)}`;
    });
    const heading = /** @type {HTMLElement} */ (this.box.querySelector("h2"));
    heading.title = at === null || at === undefined ? "" : writtenX(this.board.controls.x, u.data[0][at]);
    this.box.dataset.at = heading.title;
  }

  resize() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    // It was in a folded group when it was to be built.
    if (!this.uplot && width && !this.unbuilt) this.build();
    if (this.uplot && width && (width !== this.uplot.width || height !== this.uplot.height)) this.uplot.setSize({ width, height });
  }

  /** @param {string} token */
  colourOf(token) {
    return this.probed((probe) => (probe.style.color = `var(${token})`), (look) => look.color);
  }

  /** @param {string} css */
  colourOfSeries(css) {
    return this.probed((probe) => {
      probe.className = css;
      probe.style.color = "var(--series)";
    }, (look) => look.color);
  }

  /** @param {string} css */
  dashOf(css) {
    const dash = this.probed((probe) => (probe.className = css), (look) => look.getPropertyValue("--dash")).trim();
    return dash ? dash.split(" ").map(Number) : undefined;
  }

  /**
   * @param {(probe: HTMLElement) => void} dress
   * @param {(look: CSSStyleDeclaration) => string} read
   */
  probed(dress, read) {
    const probe = document.createElement("i");
    probe.hidden = true;
    dress(probe);
    this.box.append(probe);
    const value = read(getComputedStyle(probe));
    probe.remove();
    return value;
  }
}

/** Whether it is an end of a band, which has no line, dot or readout of its own. */
function isBandEnd(/** @type {string} */ kind) {
  return kind === "low" || kind === "high";
}

/** @param {number[]} values */
function ends_of(values) {
  return [values[0], values[values.length - 1]];
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
    logX: said.has("logx"),
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
    if (board.zoom) address.searchParams.set("zoom", board.zoom.map((value) => Number(value.toPrecision(6))).join(","));
    else address.searchParams.delete("zoom");
    history.replaceState(history.state, "", address);
  };
  const zoom = new URLSearchParams(location.search).get("zoom")?.split(",").map(Number);
  if (zoom?.length === 2 && zoom[0] < zoom[1]) {
    board.zoom = [zoom[0], zoom[1]];
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
