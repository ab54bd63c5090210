/**
 * Charts drawn by uPlot over what the server drew: all charts of a page share the x axis, the zoom and the cursor.
 *
 * @typedef {{step: number[], value: (number | null)[], time: number[], per_epoch: number | null, started: number | null, low?: (number | null)[], high?: (number | null)[]}} Points
 * @typedef {{id: string, label: string, css: string, smooth: boolean}} Series
 * @typedef {{key: string, title: string, unit: string, log: boolean, series: Series[]}} Definition
 * @typedef {{x: string, smoothing: number, log: boolean, logX: boolean, clip: boolean}} Controls
 */

import { addMenu } from "./chart-menu.js";

const POINTS_WITH_DOTS = 50;
const REST = 3;

/** Exponential moving average without the pull towards its start; nulls are passed over. */
export function smoothed(/** @type {(number | null)[]} */ values, /** @type {number} */ weight) {
  let total = 0;
  let share = 0;
  return values.map((value) => {
    if (value === null) return null;
    total = total * weight + (1 - weight) * value;
    share = share * weight + (1 - weight);
    return total / share;
  });
}

/**
 * @param {Points} points
 * @param {string} axis
 */
function xOf(points, axis) {
  if (axis === "epoch" && points.per_epoch) return points.step.map((step) => step / /** @type {number} */ (points.per_epoch));
  if (axis === "time") {
    const start = points.started ?? points.time[0] ?? 0;
    return points.time.map((time) => time - start);
  }
  return points.step;
}

/**
 * @param {number | null | undefined} value
 * @param {string} unit
 */
export function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${(100 * value).toFixed(2)} %`;
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** @param {number} value */
function span(value) {
  if (value < 60) return `${Number(value.toPrecision(3))} s`;
  if (value < 3600) return value % 60 ? `${Math.floor(value / 60)}:${String(Math.round(value % 60)).padStart(2, "0")}` : `${value / 60} min`;
  return `${Number((value / 3600).toPrecision(3))} h`;
}

/**
 * @param {string} axis
 * @param {number} value
 */
export function writtenX(axis, value) {
  if (axis === "time") return span(value);
  return axis === "epoch" ? `epoch ${Number(value.toPrecision(4))}` : `step ${Math.round(value).toLocaleString("en")}`;
}

/**
 * @param {string} axis
 * @param {string} unit
 */
function ticks(axis, unit) {
  return {
    x: (/** @type {unknown} */ _, /** @type {number[]} */ values) =>
      values.map((value) => (axis === "time" ? span(value) : axis === "step" && value >= 1e4 ? `${value / 1000}k` : String(value))),
    y: (/** @type {unknown} */ _, /** @type {(number | null)[]} */ values) =>
      values.map((value) => {
        if (value === null) return null;
        if (unit === "percent") return `${Number((100 * value).toPrecision(5))} %`;
        if (value && (Math.abs(value) < 1e-3 || unit === "power")) return value.toExponential().replace("e+", "e").replace(/(\.\d{2})\d+/, "$1");
        return String(Number(value.toPrecision(5)));
      }),
  };
}

const FINE = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));

/** Ticks of steps and epochs stand at whole numbers, unless less than three of them are in sight. */
function wholeIncrements(/** @type {unknown} */ _, /** @type {number} */ __, /** @type {number} */ low, /** @type {number} */ high) {
  return high - low < 3 ? FINE : WHOLE;
}

/** The y axis ends a little above and below what is drawn, as it does in the server's picture. */
function closeRange(/** @type {unknown} */ _, /** @type {number | null} */ low, /** @type {number | null} */ high) {
  if (low === null || high === null) return [0, 1];
  const margin = (high - low) * 0.05 || Math.abs(high) * 0.05 || 0.5;
  return [low - margin, high + margin];
}

const CLIPPED_SHARE = 0.02;

/**
 * The range without the outermost values in sight: one spike does not flatten all the rest.
 * @param {any} u
 * @param {number | null} low
 * @param {number | null} high
 */
function clippedRange(u, low, high) {
  const { min, max } = u.scales.x;
  const [from, to] = [min ?? -Infinity, max ?? Infinity];
  /** @type {number[]} */
  const seen = [];
  for (let i = 1; i < u.data.length; i++) {
    if (u.series[i].alpha !== 1) continue;
    for (let j = 0; j < u.data[i].length; j++) {
      const value = u.data[i][j];
      if (value !== null && value !== undefined && u.data[0][j] >= from && u.data[0][j] <= to) seen.push(value);
    }
  }
  if (seen.length < 20) return closeRange(u, low, high);
  seen.sort((one, other) => one - other);
  const cut = Math.floor(seen.length * CLIPPED_SHARE);
  return closeRange(u, seen[cut], seen[seen.length - 1 - cut]);
}

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
    document.addEventListener("theme-changed", () => this.rebuild());
  }

  /**
   * Take over the boxes of these definitions with these points.
   * @param {Definition[]} definitions
   * @param {Record<string, Points>} points
   * @param {(definition: Definition) => HTMLElement | null} boxOf
   */
  load(definitions, points, boxOf) {
    this.points = points;
    for (const definition of definitions) {
      const box = boxOf(definition);
      if (!box) continue;
      this.charts.get(definition.key)?.destroy();
      this.charts.set(definition.key, new Chart(this, box, definition));
    }
    this.rebuild();
  }

  /**
   * Append points; false when there is a metric among them that no chart shows yet.
   * @param {Record<string, {step: number[], value: (number | null)[], time: number[]}>} fresh
   */
  append(fresh) {
    for (const [id, more] of Object.entries(fresh)) {
      const held = this.points[id];
      if (!held) return false;
      for (let i = 0; i < more.step.length; i++) {
        held.step.push(more.step[i]);
        held.value.push(more.value[i]);
        held.time.push(more.time[i]);
      }
    }
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
      const ends = xOf({ ...points, step: ends_of(points.step), time: ends_of(points.time) }, x);
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

  rebuild() {
    for (const chart of this.charts.values()) chart.build();
  }

  /** @param {[number, number] | null} range */
  zoomTo(range) {
    this.zoom = range;
    const [, end] = this.whole();
    this.following = range !== null && range[1] >= end;
    for (const chart of this.charts.values()) chart.applyZoom();
    this.onZoom(range);
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
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.plot);
  }

  destroy() {
    this.sizes.disconnect();
    this.uplot?.destroy();
    this.uplot = null;
  }

  /** The series that have points, and for each what is drawn: raw, or faint raw below smooth, after the ends of its band. */
  drawn() {
    const weight = this.board.controls.smoothing;
    const found = [];
    for (const series of this.definition.series) {
      const points = this.board.points[series.id];
      if (!points) continue;
      const smooth = series.smooth && weight > 0;
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
      let values = (kind === "low" ? points.low : kind === "high" ? points.high : points.value) ?? [];
      if (kind === "smooth") values = smoothed(values, smoothing);
      if (positive) values = values.map((value) => (value !== null && value > 0 ? value : null));
      const xs = xOf(points, x);
      // Nothing at 0 or before it has a place on a logarithmic axis.
      return logX ? [xs.filter((each) => each > 0), values.filter((_, i) => xs[i] > 0)] : [xs, values];
    });
    if (!tables.length) return null;
    // Where a curve has no point it is `undefined` and the line goes through; a value that was NaN is null: a gap.
    return tables.length > 1 ? window.uPlot.join(tables) : tables[0];
  }

  build() {
    this.uplot?.destroy();
    this.uplot = null;
    const data = window.uPlot ? this.data() : null;
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
  }

  refresh() {
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
    this.count();
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
    const drawn = this.drawn();
    drawn.forEach(({ series, kind }, i) => {
      if (kind === "faint" || isBandEnd(kind)) return;
      const place = this.box.querySelector(`[data-readout="${CSS.escape(series.id)}"]`);
      if (!place) return;
      const values = u.data[i + 1];
      let index = at ?? values.length - 1;
      while (index > 0 && (values[index] === undefined || values[index] === null)) index--;
      place.textContent = written(values[index], this.definition.unit);
    });
    const heading = /** @type {HTMLElement} */ (this.box.querySelector("h2"));
    heading.title = at === null || at === undefined ? "" : writtenX(this.board.controls.x, u.data[0][at]);

  }

  resize() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
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
    board.rebuild();
    write();
  });
  return board;
}
