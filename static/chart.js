/**
 * One chart, drawn by uPlot over what the server drew. It belongs to a board, with whose other charts it shares the x axis.
 *
 * @typedef {import("./curves.js").Points} Points
 * @typedef {import("./board.js").Board} Board
 * @typedef {{id: string, label: string, css: string, smooth: boolean, href: string, against: string}} Series
 * @typedef {{key: string, title: string, unit: string, log: boolean, series: Series[], group: string}} Definition
 */

import { addMenu } from "./chart-menu.js";
import { clippedRange, closeRange, ticks, wholeIncrements } from "./chart-words.js";
import { Crosshair } from "./crosshair.js";
import { even, isTime, raw, standsOn, xOf } from "./curves.js";
import { isLit, lightUp } from "./light.js";
import { drawMarks } from "./marks.js";
import { onPlaces, wantsPlaces } from "./places.js";

const POINTS_WITH_DOTS = 50;
/** So far outside of the window a chart is drawn as if it were in it. */
const NEAR_PIXELS = 150;

export class Chart {
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
    lightUp(this);
    this.crosshair = new Crosshair(this);
    /** @type {any} */
    this.uplot = null;
    this.inSight = true;
    /** Whether it has to be built, or only drawn, when it comes into sight. */
    this.unbuilt = false;
    this.stale = false;
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.plot);
    /** @type {import("./places.js").Fine | null} */
    this.fine = null;
    /** What of it was drawn when it was built. */
    this.built = "";
    /** Whether a stretch of it is being marked: it is not made anew under the viewer's hand. */
    this.held = false;
    this.plot.addEventListener("mousedown", () => (this.held = true));
    this.letGo = () => {
      if (!this.held) return;
      this.held = false;
      board.draw();
    };
    addEventListener("mouseup", this.letGo);
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
    this.crosshair.destroy();
    removeEventListener("mouseup", this.letGo);
    this.uplot?.destroy();
    this.uplot = null;
  }

  /**
   * The series that have points, and for each what is drawn: raw, or faint raw below smooth, after the ends of its band.
   * Among very many, what is faint below each would hide the others, and is left out.
   * @returns {{series: Series, points: Points, smooth: boolean, kind: "high" | "low" | "faint" | "smooth" | "plain"}[]}
   */
  drawn() {
    const weight = this.board.controls.smoothing;
    /** @type {ReturnType<Chart["drawn"]>} */
    const found = [];
    for (const series of this.definition.series) {
      const points = this.board.points[series.id];
      if (!points || !standsOn(points, this.board.controls.x)) continue;
      // A long curve that is not smoothed yet is shown as it is.
      const smooth = series.smooth && weight > 0 && (!points.coarse || (points.even !== undefined && points.weight === weight));
      if (points.low && points.high) found.push({ series, points, smooth, kind: "high" }, { series, points, smooth, kind: "low" });
      if (smooth && !this.crowded) found.push({ series, points, smooth, kind: "faint" });
      found.push({ series, points, smooth, kind: smooth ? "smooth" : "plain" });
    }
    return found;
  }

  /** Whether it has very many curves. */
  get crowded() {
    return this.box.classList.contains("crowd");
  }

  /** Names all that is drawn: as long as it stays the same, a chart is not made anew for more points. */
  content() {
    return JSON.stringify(this.drawn().map(({ series, kind }) => [series.id, series.label, series.css, kind]));
  }

  /** What is drawn; `exact`: each point at its very own place, as a file has it. */
  data(exact = false) {
    const { x, smoothing, log, logX } = this.board.controls;
    const positive = log && this.definition.log;
    /** @type {import("./places.js").Table[]} */
    const tables = this.drawn().map(({ points, kind, smooth }) => {
      /** @type {import("./curves.js").Trace & import("./curves.js").Band} */
      const trace = (smooth && kind !== "faint" && even(points, smoothing)) || (isBandEnd(kind) ? points : raw(points));
      let values = (kind === "low" ? trace.low : kind === "high" ? trace.high : trace.value) ?? [];
      if (positive) values = values.map((value) => (value !== null && value > 0 ? value : null));
      const xs = xOf(trace, points, x);
      // Nothing at 0 or before it has a place on a logarithmic axis.
      return logX ? [xs.filter((each) => each > 0), values.filter((_, i) => xs[i] > 0)] : [xs, values];
    });
    if (!tables.length) return null;
    if (exact) return window.uPlot.join(tables);
    const { tables: placed, fine } = logX ? { tables, fine: null } : onPlaces(tables, this.board.sight(), this.board.whole(), x === "step");
    this.fine = fine;
    // Where a curve has no point it is `undefined` and the line goes through; a value that was NaN is null: a gap.
    return placed.length > 1 ? window.uPlot.join(placed) : placed[0];
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
      kind,
      stroke: isBandEnd(kind) ? undefined : this.colourOfSeries(series.css),
      alpha: this.alphaOf(series, kind),
      width: this.widthOf(series, kind),
      dash: kind === "faint" ? undefined : this.dashOf(series.css),
      spanGaps: false,
      points: {
        show: () => kind !== "faint" && !isBandEnd(kind) && (this.board.points[series.id]?.step.length ?? 0) <= POINTS_WITH_DOTS,
        size: this.crowded ? 3 : 5,
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
        // From the first point to the last, not from one power of ten to another.
        x: logX ? { time: false, distr: 3, range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [low, high] } : { time: x === "clock" },
        y: log && this.definition.log ? { distr: 3 } : { distr: 1, range: clip ? clippedRange : closeRange },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 26, gap: 4, space: 64, values: write.x, incrs: isTime(x) || logX ? undefined : wholeIncrements },
        { ...axis, grid, size: 46, gap: 5, space: 36, values: write.y },
      ],
      series: [{}, ...series],
      bands: this.drawn().flatMap(({ series, kind }, i) =>
        kind === "high" ? [{ series: [i + 1, i + 2], fill: this.fillOf(series) }] : [],
      ),
      plugins: [drawMarks(this.board)],
      hooks: {
        setSelect: [(/** @type {any} */ u) => this.select(u)],
        setCursor: [(/** @type {any} */ u) => this.crosshair.readOut(u)],
      },
    };
    this.built = this.content();
    this.plot.replaceChildren();
    this.uplot = new window.uPlot(options, data, this.plot);
    window.runyard.charts[this.definition.key] = this.uplot;
    this.applyZoom();
    this.crosshair.readOut(this.uplot);
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
    if (this.content() !== this.built) {
      if (this.held) this.stale = true;
      else this.build();
      return;
    }
    this.uplot.batch(() => {
      this.uplot.setData(this.data(), false);
      this.applyZoom();
    });
    this.crosshair.readOut(this.uplot);
  }

  count() {
    const ids = this.definition.series.map((series) => series.id);
    this.box.dataset.points = String(ids.reduce((sum, id) => sum + (this.board.points[id]?.step.length ?? 0), 0));
  }

  applyZoom() {
    if (!this.uplot) return;
    const [low, high] = this.board.sight();
    this.uplot.setScale("x", { min: low, max: high });
    if (wantsPlaces(this.fine, [low, high], this.board.controls.x === "step")) this.board.draw();
  }

  /** @param {any} u */
  select(u) {
    if (u.select.width < 4) return;
    const range = /** @type {[number, number]} */ ([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.board.zoomTo(range);
  }

  resize() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    // It was in a folded group when it was to be built.
    if (!this.uplot && width && !this.unbuilt) this.build();
    if (this.uplot && width && (width !== this.uplot.width || height !== this.uplot.height)) this.uplot.setSize({ width, height });
  }

  /**
   * How much is seen of what is drawn of a curve: little of all others, while some are lit.
   * @param {Series} series
   * @param {string} kind
   */
  alphaOf(series, kind) {
    const lit = isLit(series.id, this.board.lit, this.definition);
    return (kind === "faint" ? 0.3 : 1) * (lit ? 1 : 0.15);
  }

  /**
   * How thick a line is: thin among very many, unless it is lit.
   * @param {Series} series
   * @param {string} kind
   */
  widthOf(series, kind) {
    if (isBandEnd(kind)) return 0;
    const lit = this.board.lit && isLit(series.id, this.board.lit, this.definition);
    return kind === "faint" || (this.crowded && !lit) ? 1 : 1.75;
  }

  /** @param {Series} series */
  fillOf(series) {
    const [start] = this.colourOfSeries(series.css).replace(/^rgb\(/, "rgba(").split(")");
    return () => `${start}, ${(0.16 * this.alphaOf(series, "band")).toFixed(3)})`;
  }

  /** Show anew which curves are lit. */
  relight() {
    if (!this.uplot) return;
    this.drawn().forEach(({ series, kind }, i) => {
      if (this.uplot.series[i + 1]) Object.assign(this.uplot.series[i + 1], { alpha: this.alphaOf(series, kind), width: this.widthOf(series, kind) });
    });
    if (this.inSight) this.uplot.redraw(false, false);
    else this.stale = true;
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
