/**
 * Annotations: the events of a run (checkpoints, best values, changes) as thin vertical lines on its charts. They are read
 * from the list on the page. The event that the pointer or the arrow keys choose there is labeled on every chart.
 *
 * @typedef {{id: string, kind: string, step: number, time: number, text: string}} Annotation
 * @typedef {{annotation: Annotation, left: number}} Positioned `left` in CSS pixels
 */

/**
 * @import uPlot from "uplot"
 * @import { ChartBoard } from "./chart-board.js"
 */

import { timeToX } from "./curves.js";
import { queryAll } from "./dom.js";
import { announce } from "./event-stream.js";
import { throttle } from "./timers.js";

const STORAGE_KEY = "runyard-marks-hidden";
const HOVER_PIXELS = 5;
const REFRESH_MILLISECONDS = 300;
const DASHED_KINDS = ["best", "checkpoint"];

/** @type {Annotation[]} */
let annotations = [];
/** @type {string | null} */
let selected = null;
/** Whether the list is being replaced: it then loses the focus for a moment, which must not clear the selection. */
let replacing = false;
/** @type {Set<uPlot>} */
const plots = new Set();
/** @type {Map<string, string>} */
const colors = new Map();

document.addEventListener("theme-changed", () => colors.clear());
document.addEventListener(
  "run-marks",
  throttle(REFRESH_MILLISECONDS, () => announce("marks-changed")),
);
document.addEventListener("DOMContentLoaded", readList);
// Not on htmx:load, which fires after the swap has settled: a key may be pressed, or the next response arrive, before that.
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target?.id === "run-changes") readList();
  replacing = false;
});
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  replacing = detail.shouldSwap && detail.target?.id === "run-changes";
});

/** @returns {Set<string>} */
function hiddenKinds() {
  try {
    return new Set(JSON.parse(localStorage.getItem(STORAGE_KEY) ?? "[]"));
  } catch {
    return new Set();
  }
}

/**
 * The lists that already have listeners.
 * @type {WeakSet<Element>}
 */
const prepared = new WeakSet();

function readList() {
  const list = document.getElementById("marks");
  const isNew = list !== null && !prepared.has(list);
  annotations = (list ? queryAll(list, "[data-mark]", HTMLElement) : []).map((item) => {
    const { mark: id = "", kind = "", step, time } = item.dataset;
    return { id, kind, step: Number(step), time: Number(time), text: item.querySelector(".what")?.textContent ?? "" };
  });
  showKindBoxes(isNew);
  if (isNew) prepareList(list);
  if (!annotations.some(({ id }) => id === selected)) selected = null;
  redraw();
}

/** @param {boolean} isNew */
function showKindBoxes(isNew) {
  const hidden = hiddenKinds();
  for (const box of queryAll(document, "[data-mark-kind]", HTMLInputElement)) {
    const kind = box.dataset.markKind ?? "";
    box.checked = !hidden.has(kind);
    if (!isNew) continue;
    box.addEventListener("change", () => {
      const kinds = hiddenKinds();
      if (box.checked) kinds.delete(kind);
      else kinds.add(kind);
      localStorage.setItem(STORAGE_KEY, JSON.stringify([...kinds]));
      redraw();
    });
  }
}

/** Whether the pointer itself moved: a list that scrolls or grows under a resting pointer selects nothing. */
function pointerMoved(/** @type {PointerEvent} */ { movementX, movementY }) {
  return movementX !== 0 || movementY !== 0;
}

/** @param {HTMLElement} list */
function prepareList(list) {
  prepared.add(list);
  list.setAttribute("role", "listbox");
  const items = queryAll(list, "[data-mark]", HTMLElement);
  const select = (/** @type {HTMLElement | null} */ item) => {
    selected = item?.dataset.mark ?? null;
    for (const other of items) other.setAttribute("aria-selected", String(other === item));
    if (item) list.setAttribute("aria-activedescendant", item.id);
    else list.removeAttribute("aria-activedescendant");
    redraw();
  };
  for (const item of items) {
    item.id = `mark-${item.dataset.mark}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(item.dataset.mark === selected));
    item.addEventListener("pointermove", (event) => {
      if (pointerMoved(event) && selected !== item.dataset.mark) select(item);
    });
  }
  list.addEventListener("pointerleave", (event) => {
    if (pointerMoved(event)) select(null);
  });
  list.addEventListener("blur", () => {
    if (!replacing) select(null);
  });
  list.addEventListener("keydown", (event) => {
    const direction = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!direction) return;
    event.preventDefault();
    event.stopPropagation();
    const index = items.findIndex((item) => item.dataset.mark === selected);
    const start = direction > 0 ? 0 : items.length - 1;
    const next = items[index < 0 ? start : Math.min(items.length - 1, Math.max(0, index + direction))];
    select(next);
    next.scrollIntoView({ block: "nearest" });
  });
}

function redraw() {
  for (const plot of plots) plot.redraw(false, false);
}

/** @param {string} kind */
function colorOf(kind) {
  const cached = colors.get(kind);
  if (cached) return cached;
  const probe = document.createElement("i");
  probe.className = "happening probe";
  probe.dataset.kind = kind;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  colors.set(kind, color);
  return color;
}

/**
 * The x of an annotation; null if a logarithmic axis has no position for it.
 * @param {Annotation} annotation
 * @param {ChartBoard} board
 */
function annotationX({ step, time }, board) {
  const { x: axis, logX } = board.controls;
  const curves = Object.values(board.curves);
  let x = step / board.stepUnit;
  if (axis === "epoch") x = step / (curves.find((curve) => curve.per_epoch)?.per_epoch ?? 1);
  if (axis === "clock") x = time;
  const timed = curves.find((curve) => curve.stretches.length);
  if (axis === "time" && timed) x = timeToX(timed, axis, time);
  return logX && x <= 0 ? null : x;
}

/**
 * A uPlot plugin that draws the annotations of a board's run.
 * @param {ChartBoard} board
 * @returns {uPlot.Plugin}
 */
export function annotationPlugin(board) {
  const label = document.createElement("div");
  label.className = "mark-label";
  label.hidden = true;
  label.setAttribute("aria-hidden", "true");

  /**
   * @param {uPlot} plot
   * @returns {Positioned[]}
   */
  const visible = (plot) => {
    const hidden = hiddenKinds();
    const { min, max } = plot.scales.x;
    return annotations.flatMap((annotation) => {
      const x = hidden.has(annotation.kind) ? null : annotationX(annotation, board);
      if (x === null || x < (min ?? -Infinity) || x > (max ?? Infinity)) return [];
      return [{ annotation, left: plot.valToPos(x, "x") }];
    });
  };

  /**
   * @param {uPlot} plot
   * @param {Positioned | undefined} labeled
   */
  const showLabel = (plot, labeled) => {
    label.hidden = !labeled;
    if (!labeled) return;
    label.textContent = labeled.annotation.text;
    label.classList.toggle("before", labeled.left > plot.over.clientWidth / 2);
    label.style.left = `${labeled.left}px`;
    label.style.color = colorOf(labeled.annotation.kind);
  };

  return {
    hooks: {
      init: (plot) => {
        plots.add(plot);
        plot.over.append(label);
      },
      destroy: (plot) => {
        plots.delete(plot);
      },
      draw: (plot) => {
        const positioned = visible(plot);
        plot.ctx.save();
        for (const each of positioned) drawLine(plot, each);
        plot.ctx.restore();
        plot.root.dataset.marks = positioned.map(({ annotation: { kind, step } }) => `${kind}@${step}`).join(" ");
        if (selected !== null) {
          showLabel(
            plot,
            positioned.find(({ annotation }) => annotation.id === selected),
          );
        } else if (!plot.cursor.event) showLabel(plot, undefined);
      },
      setCursor: (plot) => {
        if (selected !== null) return;
        const { left = -1 } = plot.cursor;
        const distance = (/** @type {Positioned} */ each) => Math.abs(each.left - left);
        const near = left < 0 ? [] : visible(plot).filter((each) => distance(each) <= HOVER_PIXELS);
        near.sort((a, b) => distance(a) - distance(b));
        showLabel(plot, near[0]);
      },
    },
  };
}

/**
 * @param {uPlot} plot
 * @param {Positioned} positioned
 */
function drawLine({ ctx, bbox }, { annotation: { id, kind }, left }) {
  const isSelected = id === selected;
  const width = (isSelected ? 2 : 1) * devicePixelRatio;
  const color = colorOf(kind);
  ctx.strokeStyle = color;
  ctx.fillStyle = color;
  ctx.globalAlpha = isSelected ? 1 : 0.7;
  ctx.lineWidth = width;
  ctx.setLineDash(DASHED_KINDS.includes(kind) ? [2 * devicePixelRatio, 3 * devicePixelRatio] : []);
  const x = Math.round(bbox.left + left * devicePixelRatio) + width / 2;
  // Checkpoints are numerous: only the selected one gets a line.
  if (kind !== "checkpoint" || isSelected) {
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  const flag = 4 * devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(x - flag, bbox.top);
  ctx.lineTo(x + flag, bbox.top);
  ctx.lineTo(x, bbox.top + 1.5 * flag);
  ctx.fill();
}
