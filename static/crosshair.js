/**
 * Where one points in a chart: the place, the value of every curve there, and the keys that move it.
 *
 * @typedef {import("./chart.js").Chart} Chart
 */

import { written, writtenDelta, writtenX } from "./chart-words.js";

/** So many presses of an arrow cross a chart whose points stand close. */
const STRIDES = 80;
const NOWHERE = { left: -10, top: -10 };

/** @type {WeakMap<object, {length: number, last: number, before: number}>} */
const ends = new WeakMap();

/** The last two places at which a curve has a point; -1 where it has none. */
function endOf(/** @type {(number | null | undefined)[]} */ values) {
  const known = ends.get(values);
  if (known?.length === values.length) return known;
  const there = (/** @type {number} */ from) => {
    let at = from;
    while (at >= 0 && values[at] == null) at--;
    return at;
  };
  const last = there(values.length - 1);
  const found = { length: values.length, last, before: there(last - 1) };
  ends.set(values, found);
  return found;
}

/**
 * The value of a curve at a place, or the newest before it; nothing beyond its end, where the next point would be.
 * @param {any[]} data
 * @param {number} series
 * @param {number | null} at the end where it is null
 * @returns {number | null | undefined}
 */
function valueAt(data, series, at) {
  const values = data[series];
  if (!values) return undefined;
  const { last, before } = endOf(values);
  if (at === null || last < 0) return values[last];
  const [xs, gap] = [data[0], before < 0 ? 0 : data[0][last] - data[0][before]];
  if (xs[at] > xs[last] + gap) return undefined;
  let place = at;
  while (place > 0 && values[place] == null) place--;
  return values[place];
}

export class Crosshair {
  /** @param {Chart} chart */
  constructor(chart) {
    this.chart = chart;
    this.gone = new AbortController();
    /** @type {Map<string, {place: HTMLElement | null, delta: HTMLElement | null}>} */
    this.keys = new Map();
    this.label = document.createElement("div");
    this.label.className = "at";
    this.label.setAttribute("aria-hidden", "true");
    this.said = document.createElement("output");
    this.said.className = "hidden-text";
    chart.box.append(this.said);
    const { plot, definition } = chart;
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", `${definition.title}: the arrows move the crosshair, + and − zoom, 0 shows all`);
    const { signal } = this.gone;
    plot.addEventListener("keydown", (event) => this.press(event), { signal });
    plot.addEventListener("blur", () => this.chart.uplot?.setCursor(NOWHERE, true, true), { signal });
  }

  destroy() {
    this.gone.abort();
    this.said.remove();
  }

  /** Where the value of a curve and its difference to the baseline are written. */
  keyOf(/** @type {string} */ id) {
    const known = this.keys.get(id);
    if (known?.place?.isConnected) return known;
    const find = (/** @type {string} */ what) => /** @type {HTMLElement | null} */ (this.chart.box.querySelector(`[data-${what}="${CSS.escape(id)}"]`));
    const found = { place: find("readout"), delta: find("delta") };
    this.keys.set(id, found);
    return found;
  }

  /** Write what stands at the cursor of a chart, or at the end of each curve. */
  readOut(/** @type {any} */ u) {
    const { box, board, definition } = this.chart;
    const { unit } = definition;
    const drawn = this.chart.drawn();
    const at = u.cursor.idx ?? null;
    drawn.forEach(({ series, kind }, i) => {
      if (kind !== "smooth" && kind !== "plain") return;
      const { place, delta } = this.keyOf(series.id);
      if (!place) return;
      const value = valueAt(u.data, i + 1, at);
      // Fifty legends are written again with every frame, most of them as they were.
      const [words, of] = [written(value, unit), kind === "smooth" ? "of the smoothed curve" : ""];
      if (place.textContent !== words) place.textContent = words;
      if (place.title !== of) place.title = of;
      if (!delta) return;
      const against = drawn.findIndex((each) => each.series.id === series.against && (each.kind === "plain" || each.kind === "smooth"));
      const base = valueAt(u.data, against + 1, at);
      delta.textContent = value == null || base == null ? "" : `Δ ${writtenDelta(value - base, unit)}`;
    });
    const heading = /** @type {HTMLElement} */ (box.querySelector("h2"));
    const words = at === null ? "" : writtenX(board.controls.x, u.data[0][at]);
    heading.title = box.dataset.at = words;
    if (this.label.parentElement !== u.over) u.over.append(this.label);
    this.label.hidden = !words;
    this.label.textContent = words;
    if (at === null) return;
    const left = u.valToPos(u.data[0][at], "x");
    this.label.style.left = `${left}px`;
    this.label.classList.toggle("before", left > u.over.clientWidth / 2);
  }

  // By keyboard ---------------------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event */
  press(event) {
    const { uplot, plot, board } = this.chart;
    if (!uplot || event.target !== plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const acts = /** @type {Record<string, () => void>} */ ({
      ArrowLeft: () => this.move(-1),
      ArrowRight: () => this.move(1),
      Home: () => this.point(this.inSight()[0]),
      End: () => this.point(this.inSight()[1]),
      "+": () => this.zoom(1 / 2),
      "=": () => this.zoom(1 / 2),
      "-": () => this.zoom(2),
      0: () => board.zoomTo(null),
      Escape: () => uplot.setCursor(NOWHERE, true, true),
    });
    if (!(event.key in acts)) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }

  /** The first and the last place that is in sight. */
  inSight() {
    const { data, scales } = this.chart.uplot;
    const [xs, { min, max }] = [data[0], scales.x];
    const first = xs.findIndex((/** @type {number} */ x) => x >= min);
    let last = xs.length - 1;
    while (last > 0 && xs[last] > max) last--;
    return [first < 0 ? last : Math.min(first, last), last];
  }

  /** To the next point that stands a stride away. */
  move(/** @type {1 | -1} */ by) {
    const u = this.chart.uplot;
    const [first, last] = this.inSight();
    const at = u.cursor.idx ?? null;
    if (at === null || at < first || at > last) {
      this.point(by > 0 ? first : last);
      return;
    }
    const from = u.valToPos(u.data[0][at], "x");
    const stride = u.over.clientWidth / STRIDES;
    let next = at;
    while (next + by >= first && next + by <= last && (next === at || Math.abs(u.valToPos(u.data[0][next], "x") - from) < stride)) next += by;
    this.point(next);
  }

  /** @param {number} at */
  point(at) {
    const u = this.chart.uplot;
    u.setCursor({ left: u.valToPos(u.data[0][at], "x"), top: u.over.clientHeight / 2 }, true, true);
    const values = [...this.chart.box.querySelectorAll("[data-series]")].map((key) => key.textContent?.replace(/\s+/g, " ").trim());
    this.said.textContent = [this.label.textContent, ...values].join(", ");
  }

  /** Make what is in sight so many times as wide, around the crosshair or the middle. */
  zoom(/** @type {number} */ by) {
    const { board, uplot } = this.chart;
    const [low, high] = board.sight();
    const [first, last] = board.whole();
    const at = uplot.cursor.idx ?? null;
    const centre = at === null ? (low + high) / 2 : uplot.data[0][at];
    const wanted = /** @type {[number, number]} */ ([Math.max(first, centre - (centre - low) * by), Math.min(last, centre + (high - centre) * by)]);
    board.zoomTo(wanted[0] <= first && wanted[1] >= last ? null : wanted);
    if (at !== null) this.point(at);
  }
}
