/** The crosshair of a chart: its position, the value of every curve there, and the keys that move it. */

/**
 * @import uPlot from "uplot"
 * @import { Chart } from "./chart.js"
 */

import { formatDelta, formatValue, formatX } from "./chart-format.js";
import { nextIndex, valueAt, visibleIndices, zoomedRange } from "./crosshair-math.js";
import { query } from "./dom.js";

/** About this many presses of an arrow key cross a chart with dense points. */
const STRIDES = 80;
const OUTSIDE = { left: -10, top: -10 };

/**
 * Move the cursor of a plot, and with it that of the plots synchronized with it.
 * @param {uPlot} plot
 * @param {{left: number, top: number}} position
 */
function setCursor(plot, position) {
  // uPlot's types leave out the last parameter, which publishes the move to synchronized plots.
  const set = /** @type {(position: {left: number, top: number}, fire: boolean, publish: boolean) => void} */ (
    plot.setCursor
  );
  set(position, true, true);
}

export class Crosshair {
  /** @param {Chart} chart */
  constructor(chart) {
    this.chart = chart;
    this.aborter = new AbortController();
    /** The legend's elements for the value of a curve and for its difference from the baseline.
     * @type {Map<string, {value: HTMLElement | null, delta: HTMLElement | null}>} */
    this.readouts = new Map();
    this.label = document.createElement("div");
    this.label.className = "at";
    this.label.setAttribute("aria-hidden", "true");
    this.announcement = document.createElement("output");
    this.announcement.className = "hidden-text";
    chart.box.append(this.announcement);
    const { plot, definition } = chart;
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute(
      "aria-label",
      `${definition.title}: arrow keys move the crosshair, + and − zoom, 0 resets the zoom`,
    );
    const { signal } = this.aborter;
    plot.addEventListener("keydown", (event) => this.onKey(event), { signal });
    plot.addEventListener("blur", () => this.chart.uplot && setCursor(this.chart.uplot, OUTSIDE), { signal });
  }

  destroy() {
    this.aborter.abort();
    this.announcement.remove();
  }

  readoutOf(/** @type {string} */ id) {
    const cached = this.readouts.get(id);
    if (cached?.value?.isConnected) return cached;
    const find = (/** @type {string} */ name) =>
      query(this.chart.box, `[data-${name}="${CSS.escape(id)}"]`, HTMLElement);
    const readout = { value: find("readout"), delta: find("delta") };
    this.readouts.set(id, readout);
    return readout;
  }

  /** Show the values at the cursor, or at the end of each curve. */
  update(/** @type {uPlot} */ plot) {
    const { box, board, definition } = this.chart;
    const { unit } = definition;
    const lines = this.chart.lines();
    const index = plot.cursor.idx ?? null;
    const xs = plot.data[0];
    lines.forEach(({ series, kind }, i) => {
      if (kind !== "smooth" && kind !== "plain") return;
      const { value: element, delta } = this.readoutOf(series.id);
      if (!element) return;
      const value = valueAt(xs, plot.data[i + 1], index);
      // Written only if it changed: fifty legends are updated with every frame.
      const [text, title] = [formatValue(value, unit), kind === "smooth" ? "smoothed value" : ""];
      if (element.textContent !== text) element.textContent = text;
      if (element.title !== title) element.title = title;
      if (!delta) return;
      const baseline = lines.findIndex(
        (line) => line.series.id === series.against && (line.kind === "plain" || line.kind === "smooth"),
      );
      const base = valueAt(xs, plot.data[baseline + 1], index);
      delta.textContent = value == null || base == null ? "" : `Δ ${formatDelta(value - base, unit)}`;
    });
    const text = index === null ? "" : formatX(board.axis, xs[index], board.stepUnit);
    const heading = query(box, "h2", HTMLElement);
    if (heading) heading.title = text;
    box.dataset.at = text;
    if (this.label.parentElement !== plot.over) plot.over.append(this.label);
    this.label.hidden = !text;
    this.label.textContent = text;
    if (index === null) return;
    const left = plot.valToPos(xs[index], "x");
    this.label.style.left = `${left}px`;
    this.label.classList.toggle("before", left > plot.over.clientWidth / 2);
  }

  // Keyboard ------------------------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const { uplot, plot, board } = this.chart;
    if (!uplot || event.target !== plot || event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => this.move(uplot, -1),
      ArrowRight: () => this.move(uplot, 1),
      Home: () => this.moveTo(uplot, this.visible(uplot)[0]),
      End: () => this.moveTo(uplot, this.visible(uplot)[1]),
      "+": () => this.zoom(uplot, 1 / 2),
      "=": () => this.zoom(uplot, 1 / 2),
      "-": () => this.zoom(uplot, 2),
      0: () => board.zoomTo(null),
      Escape: () => setCursor(uplot, OUTSIDE),
    };
    const action = Object.hasOwn(actions, event.key) ? actions[event.key] : null;
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  visible(/** @type {uPlot} */ plot) {
    const { min, max } = plot.scales.x;
    return visibleIndices(plot.data[0], min ?? -Infinity, max ?? Infinity);
  }

  /**
   * @param {uPlot} plot
   * @param {1 | -1} direction
   */
  move(plot, direction) {
    const [first, last] = this.visible(plot);
    const index = plot.cursor.idx ?? null;
    if (index === null || index < first || index > last) {
      this.moveTo(plot, direction > 0 ? first : last);
      return;
    }
    const position = (/** @type {number} */ i) => plot.valToPos(plot.data[0][i], "x");
    const start = position(index);
    const distance = (/** @type {number} */ i) => Math.abs(position(i) - start);
    this.moveTo(plot, nextIndex(index, direction, first, last, distance, plot.over.clientWidth / STRIDES));
  }

  /**
   * Move the crosshair to a point and announce the values there.
   * @param {uPlot} plot
   * @param {number} index
   */
  moveTo(plot, index) {
    setCursor(plot, { left: plot.valToPos(plot.data[0][index], "x"), top: plot.over.clientHeight / 2 });
    const keys = [...this.chart.box.querySelectorAll("[data-series]")];
    const values = keys.map((key) => key.textContent?.replace(/\s+/g, " ").trim());
    this.announcement.textContent = [this.label.textContent, ...values].join(", ");
  }

  /**
   * Zoom around the crosshair, or around the middle.
   * @param {uPlot} plot
   * @param {number} factor
   */
  zoom(plot, factor) {
    const { board } = this.chart;
    const visible = board.visibleRange();
    const index = plot.cursor.idx ?? null;
    const center = index === null ? (visible[0] + visible[1]) / 2 : plot.data[0][index];
    board.zoomTo(zoomedRange(visible, board.fullRange(), center, factor));
    if (index !== null) this.moveTo(plot, index);
  }
}
