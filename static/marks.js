/**
 * What happened to a run as thin lines on its curves. The list on the page is what they are read from; a mark of it that
 * is pointed at, or chosen with the arrow keys, is named on every chart.
 *
 * @typedef {{id: string, kind: string, step: number, time: number, text: string}} Mark
 */

import { secondsAt } from "./curves.js";
import { announce, throttled } from "./live.js";

const HIDDEN_KINDS = "runyard-marks-hidden";
const NEAR_PIXELS = 5;

/** @type {Mark[]} */
let marks = [];
/** @type {string | null} */
let chosen = null;
/** Whether the list is being replaced by one with new marks: it loses the focus then, and gets it back. */
let replaced = false;
/** @type {Set<any>} */
const plots = new Set();
/** @type {Map<string, string>} */
const colours = new Map();

document.addEventListener("theme-changed", () => colours.clear());
document.addEventListener("run-marks", throttled(300, () => announce("marks-changed")));
document.addEventListener("htmx:load", (event) => {
  const { elt } = /** @type {CustomEvent} */ (event).detail;
  if (!elt.closest?.("#run-control")) return;
  said = "";
  refused = false;
  sayNewest();
});
document.addEventListener("DOMContentLoaded", readList);
// At once: before what was swapped in has settled, and is told of as loaded, a key may be pressed in it, or the next
// answer may stand in its place.
document.addEventListener("htmx:afterSwap", (event) => {
  if (/** @type {CustomEvent} */ (event).detail.target?.id === "run-changes") readList();
  replaced = false;
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const { target, shouldSwap } = /** @type {CustomEvent} */ (event).detail;
  replaced = shouldSwap && target?.id === "run-changes";
});

/** @returns {Set<string>} */
function hiddenKinds() {
  try {
    return new Set(JSON.parse(localStorage.getItem(HIDDEN_KINDS) ?? "[]"));
  } catch {
    return new Set();
  }
}

/**
 * The lists that are used already.
 * @type {WeakSet<Element>}
 */
const used = new WeakSet();

/** Take over what the list says, and let it be used. */
function readList() {
  const list = document.getElementById("marks");
  const fresh = list !== null && !used.has(list);
  const hidden = hiddenKinds();
  marks = [...(list?.querySelectorAll("[data-mark]") ?? [])].map((item) => {
    const { mark, kind, step, time } = /** @type {HTMLElement} */ (item).dataset;
    return { id: mark ?? "", kind: kind ?? "", step: Number(step), time: Number(time), text: item.querySelector(".what")?.textContent ?? "" };
  });
  for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[data-mark-kind]"))) {
    box.checked = !hidden.has(box.dataset.markKind ?? "");
    if (!fresh) continue;
    box.addEventListener("change", () => {
      const now = hiddenKinds();
      if (box.checked) now.delete(box.dataset.markKind ?? "");
      else now.add(box.dataset.markKind ?? "");
      localStorage.setItem(HIDDEN_KINDS, JSON.stringify([...now]));
      redraw();
    });
  }
  if (fresh) useList(list);
  sayNewest();
  if (!marks.some((mark) => mark.id === chosen)) chosen = null;
  redraw();
}

let said = "";
let refused = false;

/** What became of the last change is said where it was asked for; a refusal stays until something else is asked for. */
function sayNewest() {
  const place = document.getElementById("control-said");
  const problem = document.getElementById("change-problem");
  const last = document.querySelector("#changes [data-change]");
  const newest = problem ?? last;
  const state = last?.textContent?.replace(/\s+·.*/s, "") ?? "";
  if (!place || !newest || (!problem && (refused || state === said))) return;
  refused = problem !== null;
  said = state;
  const words = [...newest.querySelectorAll(".what, .state")].map((each) => each.textContent?.trim()).join(": ");
  place.textContent = place.title = words || newest.textContent || "";
  place.dataset.state = /** @type {HTMLElement} */ (newest).dataset.state ?? "refused";
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const { elt } = /** @type {CustomEvent} */ (event).detail;
  if (elt instanceof HTMLFormElement && elt.closest("#run-control")) refused = false;
});

document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, successful } = /** @type {CustomEvent} */ (event).detail;
  if (elt instanceof HTMLFormElement && elt.closest("#run-control") && successful && !document.getElementById("change-problem")) elt.reset();
});

/** Whether the pointer went there itself: a list that grows below one that rests chooses nothing by that. */
function moved(/** @type {PointerEvent} */ { movementX, movementY }) {
  return movementX !== 0 || movementY !== 0;
}

/** @param {HTMLElement} list */
function useList(list) {
  used.add(list);
  list.setAttribute("role", "listbox");
  const items = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[data-mark]")]);
  const choose = (/** @type {HTMLElement | null} */ item) => {
    chosen = item?.dataset.mark ?? null;
    for (const each of items) each.setAttribute("aria-selected", String(each === item));
    if (item) list.setAttribute("aria-activedescendant", item.id);
    else list.removeAttribute("aria-activedescendant");
    redraw();
  };
  for (const item of items) {
    item.id = `mark-${item.dataset.mark}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(item.dataset.mark === chosen));
    item.addEventListener("pointermove", (event) => {
      if (moved(event) && chosen !== item.dataset.mark) choose(item);
    });
  }
  list.addEventListener("pointerleave", (event) => {
    if (moved(event)) choose(null);
  });
  list.addEventListener("blur", () => {
    if (!replaced) choose(null);
  });
  list.addEventListener("keydown", (event) => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const at = items.findIndex((item) => item.dataset.mark === chosen);
    const next = items[at < 0 ? (by > 0 ? 0 : items.length - 1) : Math.min(items.length - 1, Math.max(0, at + by))];
    choose(next);
    next.scrollIntoView({ block: "nearest" });
  });
}

function redraw() {
  for (const plot of plots) plot.redraw(false, false);
}

/** @param {string} kind */
function colourOf(kind) {
  const known = colours.get(kind);
  if (known) return known;
  const probe = document.createElement("i");
  probe.className = "happening probe";
  probe.dataset.kind = kind;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  colours.set(kind, found);
  return found;
}

/**
 * Where a mark stands on the x axis of a board; null where it has no place there.
 * @param {Mark} mark
 * @param {import("./board.js").Board} board
 */
function xOfMark(mark, board) {
  const { x, logX } = board.controls;
  const points = Object.values(board.points);
  let at = mark.step;
  if (x === "epoch") at = mark.step / (points.find((each) => each.per_epoch)?.per_epoch ?? 1);
  if (x === "clock") at = mark.time;
  const own = points.find((each) => each.stretches.length);
  if (x === "time" && own) at = secondsAt(own, x, mark.time);
  return logX && at <= 0 ? null : at;
}

/**
 * The marks of a board's run, as uPlot draws them.
 * @param {import("./board.js").Board} board
 */
export function drawMarks(board) {
  const label = document.createElement("div");
  label.className = "mark-label";
  label.hidden = true;
  label.setAttribute("aria-hidden", "true");

  /** @param {any} u */
  const placed = (u) => {
    const hidden = hiddenKinds();
    return marks.flatMap((mark) => {
      const at = hidden.has(mark.kind) ? null : xOfMark(mark, board);
      if (at === null || at < u.scales.x.min || at > u.scales.x.max) return [];
      return [{ mark, left: u.valToPos(at, "x") }];
    });
  };

  /**
   * @param {any} u
   * @param {{mark: Mark, left: number} | undefined} found
   */
  const name = (u, found) => {
    label.hidden = !found;
    if (!found) return;
    label.textContent = found.mark.text;
    label.classList.toggle("before", found.left > u.over.clientWidth / 2);
    label.style.left = `${found.left}px`;
    label.style.color = colourOf(found.mark.kind);
  };

  return {
    hooks: {
      init: [(/** @type {any} */ u) => { plots.add(u); u.over.append(label); }],
      destroy: [(/** @type {any} */ u) => plots.delete(u)],
      draw: [
        (/** @type {any} */ u) => {
          const { ctx, bbox } = u;
          const there = placed(u);
          ctx.save();
          for (const { mark, left } of there) {
            const thick = mark.id === chosen ? 2 : 1;
            ctx.strokeStyle = ctx.fillStyle = colourOf(mark.kind);
            ctx.globalAlpha = mark.id === chosen ? 1 : 0.7;
            ctx.lineWidth = thick * devicePixelRatio;
            ctx.setLineDash(["best", "checkpoint"].includes(mark.kind) ? [2 * devicePixelRatio, 3 * devicePixelRatio] : []);
            const x = Math.round(bbox.left + left * devicePixelRatio) + (thick * devicePixelRatio) / 2;
            // Checkpoints are many, and say little until one is looked for.
            if (mark.kind !== "checkpoint" || mark.id === chosen) {
              ctx.beginPath();
              ctx.moveTo(x, bbox.top);
              ctx.lineTo(x, bbox.top + bbox.height);
              ctx.stroke();
            }
            // A small flag, by which a mark is found.
            const flag = 4 * devicePixelRatio;
            ctx.beginPath();
            ctx.moveTo(x - flag, bbox.top);
            ctx.lineTo(x + flag, bbox.top);
            ctx.lineTo(x, bbox.top + 1.5 * flag);
            ctx.fill();
          }
          ctx.restore();
          u.root.dataset.marks = there.map(({ mark }) => `${mark.kind}@${mark.step}`).join(" ");
          if (chosen !== null) name(u, there.find(({ mark }) => mark.id === chosen));
          else if (!u.cursor.event) name(u, undefined);
        },
      ],
      setCursor: [
        (/** @type {any} */ u) => {
          if (chosen !== null) return;
          const at = u.cursor.left;
          const near = at < 0 ? [] : placed(u).filter(({ left }) => Math.abs(left - at) <= NEAR_PIXELS);
          near.sort((one, other) => Math.abs(one.left - at) - Math.abs(other.left - at));
          name(u, near[0]);
        },
      ],
    },
  };
}
