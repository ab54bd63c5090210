/** Brushes on the axes of the parallel coordinates: lines that do not pass through all of them fade. */

import { brushAfterKey, MIN_BRUSH_PERCENT, passesBrushes, percentWithin } from "./brushes.js";
import { closest, get, query, queryAll } from "./dom.js";

/** @import { Brush } from "./brushes.js" */

/** By the title of the axis. @type {Map<string, Brush>} */
const brushes = new Map();

const findSection = () => query(document, "[data-parallel]", HTMLElement);
const titleOf = (/** @type {Element} */ axis) => axis.querySelector(".title")?.textContent ?? "";

function show() {
  const section = findSection();
  if (!section) return;
  const axisBrushes = queryAll(section, "[data-axis]", Element).map((axis) => brushes.get(titleOf(axis)));
  for (const line of queryAll(section, "[data-heights]", SVGElement)) {
    line.classList.toggle("out", !passesBrushes((line.dataset.heights ?? "").split(","), axisBrushes));
  }
  const passing = section.querySelectorAll("[data-heights]:not(.out)").length;
  for (const slider of queryAll(section, ".hit", HTMLElement)) {
    const brush = brushes.get(slider.dataset.title ?? "");
    const mark = get(slider, "i", HTMLElement);
    mark.hidden = !brush;
    if (brush) {
      mark.style.top = `${brush[0]}%`;
      mark.style.height = `${Math.max(1, brush[1] - brush[0])}%`;
    }
    slider.setAttribute(
      "aria-valuetext",
      brush ? `${passing} of ${section.querySelectorAll("[data-heights]").length} selected` : "all",
    );
  }
  get(section, "[data-brush-clear]", HTMLElement).hidden = !brushes.size;
}

function prepare() {
  const plot = findSection()?.querySelector(".plot");
  if (!plot || plot.querySelector(".hit")) return;
  const axes = [...plot.querySelectorAll("[data-axis]")];
  axes.forEach((axis, i) => {
    const title = titleOf(axis);
    const slider = document.createElement("div");
    slider.className = "hit";
    slider.tabIndex = 0;
    slider.dataset.title = title;
    slider.style.left = `${(100 * i) / (axes.length - 1)}%`;
    slider.setAttribute("role", "slider");
    slider.setAttribute("aria-orientation", "vertical");
    slider.setAttribute("aria-valuenow", "0");
    slider.setAttribute("aria-label", `Filter by ${title}; arrow keys move the range, Escape clears it`);
    slider.append(document.createElement("i"));
    plot.append(slider);
    listen(slider, title);
  });
  show();
}

/**
 * @param {HTMLElement} slider
 * @param {string} title
 */
function listen(slider, title) {
  /** @type {number | null} */
  let start = null;
  const height = (/** @type {PointerEvent} */ event) => percentWithin(event.clientY, slider.getBoundingClientRect());
  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    slider.setPointerCapture(event.pointerId);
    start = height(event);
  });
  slider.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const now = height(event);
    if (Math.abs(now - start) < MIN_BRUSH_PERCENT) return;
    brushes.set(title, [Math.min(start, now), Math.max(start, now)]);
    show();
  });
  slider.addEventListener("pointerup", () => {
    start = null;
  });
  slider.addEventListener("dblclick", () => {
    brushes.delete(title);
    show();
  });
  slider.addEventListener("keydown", (event) => {
    if (event.key === "Escape") brushes.delete(title);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      brushes.set(title, brushAfterKey(brushes.get(title), event.key));
    } else return;
    event.preventDefault();
    event.stopPropagation();
    show();
  });
}

document.addEventListener("click", (event) => {
  if (!closest(event.target, "[data-brush-clear]", Element)) return;
  brushes.clear();
  show();
});
prepare();
document.addEventListener("htmx:afterSettle", prepare);
