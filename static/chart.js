/**
 * One chart, drawn by uPlot in place of the server's drawing. It belongs to a board, whose charts share the x axis.
 *
 * @typedef {{id: string, label: string, css: string, smooth: boolean, href: string, against: string}} Series
 *   `against` is the id of the baseline's curve
 * @typedef {{key: string, title: string, unit: string, log: boolean, series: Series[], group: string}} Definition
 * @typedef {{series: Series, curve: Curve, smooth: boolean, kind: LineKind}} Line
 */

/**
 * @import uPlot from "uplot"
 * @import { ChartBoard } from "./chart-board.js"
 * @import { Band, Curve, Trace } from "./curves.js"
 * @import { LineKind } from "./types.js"
 * @import { FineGrid, Table } from "./x-grid.js"
 */

import { annotationPlugin } from "./annotations.js";
import { labeledLogTicks, tickLabels } from "./chart-format.js";
import { addMenu } from "./chart-menu.js";
import { ceilingOf, clippedRange, paddedRange, stepIncrements } from "./chart-ranges.js";
import { Crosshair } from "./crosshair.js";
import { hasAxis, isTimeAxis, rawTrace, smoothedTrace, xValues } from "./curves.js";
import { get } from "./dom.js";
import { highlightFromLegend, isHighlighted } from "./legend-highlight.js";
import { needsNewGrid, snapToGrid } from "./x-grid.js";

const MAX_POINTS_WITH_DOTS = 50;
/** Charts this close to the window are drawn as if they were visible. */
const MARGIN_PIXELS = 150;
const MIN_SELECTION_PIXELS = 4;

/** Whether a line is an edge of a band, which has no stroke, dots or readout. */
const isBandEdge = (/** @type {LineKind} */ kind) => kind === "low" || kind === "high";

export class Chart {
  /**
   * @param {ChartBoard} board
   * @param {HTMLElement} box
   * @param {Definition} definition
   */
  constructor(board, box, definition) {
    this.board = board;
    this.box = box;
    this.definition = definition;
    this.plot = get(box, ".plot", HTMLElement);
    addMenu(this);
    highlightFromLegend(this);
    this.crosshair = new Crosshair(this);
    /** @type {uPlot | null} */
    this.uplot = null;
    this.visible = true;
    /** Whether to build, or only to redraw, the chart when it becomes visible. */
    this.unbuilt = false;
    this.stale = false;
    this.resizeObserver = new ResizeObserver(() => this.resize());
    this.resizeObserver.observe(this.plot);
    /** @type {FineGrid | null} */
    this.fineGrid = null;
    /** The signature of the lines that the chart was built with. */
    this.builtSignature = "";
    /** Whether the mouse button is down: the chart is not rebuilt while the viewer selects a range. */
    this.selecting = false;
    this.plot.addEventListener("mousedown", () => {
      this.selecting = true;
    });
    this.onMouseUp = () => {
      if (!this.selecting) return;
      this.selecting = false;
      board.scheduleDraw();
    };
    addEventListener("mouseup", this.onMouseUp);
    this.visibilityObserver = new IntersectionObserver(([entry]) => this.setVisible(entry.isIntersecting), {
      rootMargin: `${MARGIN_PIXELS}px`,
    });
    this.visibilityObserver.observe(box);
  }

  /** Update `visible` before the observer reports it. */
  measure() {
    const { top, bottom } = this.box.getBoundingClientRect();
    this.visible = bottom > -MARGIN_PIXELS && top < innerHeight + MARGIN_PIXELS;
  }

  /** @param {boolean} visible */
  setVisible(visible) {
    const appeared = visible && !this.visible;
    this.visible = visible;
    if (!appeared) return;
    if (this.unbuilt) this.build();
    else if (this.stale) this.refresh();
    if (this.board.zoom) this.board.scheduleFinerPoints();
  }

  destroy() {
    this.resizeObserver.disconnect();
    this.visibilityObserver.disconnect();
    this.crosshair.destroy();
    removeEventListener("mouseup", this.onMouseUp);
    this.uplot?.destroy();
    this.uplot = null;
  }

  /**
   * The lines to draw. Each curve with points gives a plain line, or a smooth one over a faint raw one, after the edges of
   * its band. A crowded chart has no faint lines: they would hide the other curves.
   * @returns {Line[]}
   */
  lines() {
    const { smoothing: weight, x } = this.board.controls;
    /** @type {Line[]} */
    const lines = [];
    for (const series of this.definition.series) {
      const curve = this.board.curves[series.id];
      if (!curve || !hasAxis(curve, x)) continue;
      // A thinned-out curve stays raw until its smoothed trace is loaded.
      const loaded = !curve.coarse || (curve.even !== undefined && curve.weight === weight);
      const smooth = series.smooth && weight > 0 && loaded;
      if (curve.low && curve.high) {
        lines.push({ series, curve, smooth, kind: "high" }, { series, curve, smooth, kind: "low" });
      }
      if (smooth && !this.crowded) lines.push({ series, curve, smooth, kind: "faint" });
      lines.push({ series, curve, smooth, kind: smooth ? "smooth" : "plain" });
    }
    return lines;
  }

  /** Whether the server counted very many curves for this chart. */
  get crowded() {
    return this.box.classList.contains("crowd");
  }

  /** Identifies the lines and the x axis: while it stays the same, new points need no rebuild. */
  signature() {
    const lines = this.lines().map(({ series, kind }) => [series.id, series.label, series.css, kind]);
    return JSON.stringify([this.board.axis, this.board.stepUnit, ...lines]);
  }

  /**
   * The data to draw, or null if there is none. `exact` keeps every point at its exact x, for exports.
   * @returns {uPlot.AlignedData | null}
   */
  data(exact = false) {
    const { x, smoothing, log, logX } = this.board.controls;
    const positiveOnly = log && this.definition.log;
    /** @type {Table[]} */
    const tables = this.lines().map(({ curve, kind, smooth }) => {
      const smoothed = smooth && kind !== "faint" ? smoothedTrace(curve, smoothing) : null;
      /** @type {Trace & Band} */
      const trace = smoothed ?? (isBandEdge(kind) ? curve : rawTrace(curve));
      let values = (kind === "low" ? trace.low : kind === "high" ? trace.high : trace.value) ?? [];
      if (positiveOnly) values = values.map((value) => (value !== null && value > 0 ? value : null));
      const xs = xValues(trace, curve, x);
      // A logarithmic axis has no position for 0 and below.
      return logX ? [xs.filter((value) => value > 0), values.filter((_, i) => xs[i] > 0)] : [xs, values];
    });
    if (!tables.length || !window.uPlot) return null;
    if (exact) return window.uPlot.join(tables);
    const { tables: snapped, fine } = logX
      ? { tables, fine: null }
      : snapToGrid(tables, this.board.visibleRange(), this.board.fullRange(), this.board.hasWholePositions);
    this.fineGrid = fine;
    // After the join a curve is undefined where it has no point, which its line crosses, and null where it was NaN: a gap.
    return snapped.length > 1 ? window.uPlot.join(snapped) : snapped[0];
  }

  build() {
    this.unbuilt = false;
    this.stale = false;
    this.uplot?.destroy();
    this.uplot = null;
    const data = window.uPlot && this.plot.clientWidth ? this.data() : null;
    this.showPointCount();
    // Without uPlot the server's drawing stays.
    if (!window.uPlot || !data) {
      delete window.runyard.charts[this.definition.key];
      return;
    }
    this.builtSignature = this.signature();
    this.plot.replaceChildren();
    this.uplot = new window.uPlot(this.options(), data, this.plot);
    window.runyard.charts[this.definition.key] = this.uplot;
    this.applyZoom();
    this.crosshair.update(this.uplot);
    this.box.dispatchEvent(new CustomEvent("chart-built", { bubbles: true, detail: this.uplot }));
  }

  /** @returns {uPlot.Options} */
  options() {
    const { x, log, logX, clip } = this.board.controls;
    const { fontFamily } = getComputedStyle(this.box);
    const axis = { stroke: this.tokenColor("--faint"), font: `11px ${fontFamily}`, ticks: { show: false } };
    const grid = { stroke: this.tokenColor("--line"), width: 1 };
    const { axis: xAxis, stepUnit } = this.board;
    const hasTimes = x === "clock" || xAxis === "milliseconds";
    const labels = tickLabels(xAxis, this.definition.unit, stepUnit);
    const ceiling = ceilingOf(this.definition);
    /** @type {(plot: uPlot, low: number | null, high: number | null) => [number, number]} */
    const yRange = (plot, low, high) =>
      clip ? clippedRange(plot, low, high, ceiling) : paddedRange(low, high, ceiling);
    const lines = this.lines();
    return {
      width: this.plot.clientWidth,
      height: this.plot.clientHeight,
      padding: [8, 12, 0, 0],
      ms: xAxis === "milliseconds" ? 1 : 1e-3,
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        sync: { key: "runyard", scales: ["x", null] },
        bind: {
          dblclick: () => () => {
            this.board.zoomTo(null);
            return null;
          },
        },
        points: { size: 6 },
      },
      scales: {
        // From the first point to the last. uPlot would extend a logarithmic axis to whole powers of ten.
        x: logX ? { time: false, distr: 3, range: (_plot, low, high) => [low, high] } : { time: hasTimes },
        y: log && this.definition.log ? { distr: 3 } : { distr: 1, range: yRange },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 26,
          gap: 4,
          space: 64,
          values: labels.x,
          filter: logX ? labeledLogTicks : undefined,
          incrs: isTimeAxis(x) || hasTimes || logX ? undefined : stepIncrements,
        },
        {
          ...axis,
          grid,
          size: 46,
          gap: 5,
          space: 36,
          values: labels.y,
          filter: log && this.definition.log ? labeledLogTicks : undefined,
        },
      ],
      series: [{}, ...lines.map((line) => this.lineOptions(line))],
      bands: lines.flatMap(({ series, kind }, i) =>
        kind === "high" ? [{ series: [i + 1, i + 2], fill: this.bandFill(series) }] : [],
      ),
      plugins: [annotationPlugin(this.board)],
      hooks: {
        setSelect: [(plot) => this.zoomToSelection(plot)],
        setCursor: [(plot) => this.crosshair.update(plot)],
      },
    };
  }

  /**
   * @param {Line} line
   * @returns {uPlot.Series}
   */
  lineOptions({ series, kind }) {
    const color = this.seriesColor(series.css);
    return {
      label: series.label,
      kind,
      stroke: isBandEdge(kind) ? undefined : color,
      alpha: this.opacity(series, kind),
      width: this.lineWidth(series, kind),
      dash: kind === "faint" ? undefined : this.dash(series.css),
      spanGaps: false,
      points: {
        show: () => {
          const count = this.board.curves[series.id]?.step.length ?? 0;
          return kind !== "faint" && !isBandEdge(kind) && count <= MAX_POINTS_WITH_DOTS;
        },
        size: this.crowded ? 3 : 5,
        fill: color,
        width: 0,
      },
    };
  }

  /** Draw the current points; rebuild if the lines changed. */
  refresh() {
    this.showPointCount();
    if (!this.visible) {
      this.stale = true;
      return;
    }
    this.stale = false;
    const { uplot } = this;
    if (!uplot) {
      this.build();
      return;
    }
    if (this.signature() !== this.builtSignature) {
      if (this.selecting) this.stale = true;
      else this.build();
      return;
    }
    const data = this.data();
    if (!data) return;
    uplot.batch(() => {
      uplot.setData(data, false);
      this.applyZoom();
    });
    this.crosshair.update(uplot);
  }

  showPointCount() {
    const ids = this.definition.series.map((series) => series.id);
    const count = ids.reduce((sum, id) => sum + (this.board.curves[id]?.step.length ?? 0), 0);
    this.box.dataset.points = String(count);
  }

  applyZoom() {
    if (!this.uplot) return;
    const [min, max] = this.board.visibleRange();
    this.uplot.setScale("x", { min, max });
    if (needsNewGrid(this.fineGrid, [min, max], this.board.hasWholePositions)) this.board.scheduleDraw();
  }

  /** @param {uPlot} plot */
  zoomToSelection(plot) {
    const { left, width } = plot.select;
    if (width < MIN_SELECTION_PIXELS) return;
    /** @type {[number, number]} */
    const range = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    // Large steps that lie side by side share one position.
    if (range[0] < range[1]) this.board.zoomTo(range);
  }

  resize() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    // A chart in a collapsed group has no size, and is built once the group opens.
    if (!this.uplot && width && !this.unbuilt) this.build();
    if (this.uplot && width && (width !== this.uplot.width || height !== this.uplot.height)) {
      this.uplot.setSize({ width, height });
    }
  }

  // Appearance ----------------------------------------------------------------------------------------------------------

  /**
   * @param {Series} series
   * @param {LineKind} kind
   */
  opacity(series, kind) {
    const highlighted = isHighlighted(series.id, this.board.highlighted, this.definition.series);
    return (kind === "faint" ? 0.3 : 1) * (highlighted ? 1 : 0.15);
  }

  /**
   * @param {Series} series
   * @param {LineKind} kind
   */
  lineWidth(series, kind) {
    if (isBandEdge(kind)) return 0;
    const { highlighted } = this.board;
    const thick = !this.crowded || (highlighted && isHighlighted(series.id, highlighted, this.definition.series));
    return kind !== "faint" && thick ? 1.75 : 1;
  }

  /** @param {Series} series */
  bandFill(series) {
    const [start] = this.seriesColor(series.css)
      .replace(/^rgb\(/, "rgba(")
      .split(")");
    return () => `${start}, ${(0.16 * this.opacity(series, "high")).toFixed(3)})`;
  }

  /** Redraw after the highlighted curve changed. */
  updateHighlight() {
    const { uplot } = this;
    if (!uplot) return;
    this.lines().forEach(({ series, kind }, i) => {
      const drawn = uplot.series[i + 1];
      if (drawn) Object.assign(drawn, { alpha: this.opacity(series, kind), width: this.lineWidth(series, kind) });
    });
    if (this.visible) uplot.redraw(false, false);
    else this.stale = true;
  }

  /** @param {string} token */
  tokenColor(token) {
    return this.computedStyle((probe) => probe.style.setProperty("color", `var(${token})`), "color");
  }

  /** @param {string} css */
  seriesColor(css) {
    return this.computedStyle((probe) => {
      probe.className = css;
      probe.style.color = "var(--series)";
    }, "color");
  }

  /** @param {string} css */
  dash(css) {
    const dash = this.computedStyle((probe) => {
      probe.className = css;
    }, "--dash").trim();
    return dash ? dash.split(" ").map(Number) : undefined;
  }

  /**
   * The value of a property of a hidden element in this chart's box.
   * @param {(probe: HTMLElement) => void} prepare
   * @param {string} property
   */
  computedStyle(prepare, property) {
    const probe = document.createElement("i");
    probe.hidden = true;
    prepare(probe);
    this.box.append(probe);
    const value = getComputedStyle(probe).getPropertyValue(property);
    probe.remove();
    return value;
  }
}
