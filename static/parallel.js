/** Brushes on the axes of the parallel coordinates: what does not pass through all of them fades. */

/** @type {Map<string, [number, number]>} by the title of an axis, per cent of its height */
const brushes = new Map();
const SMALLEST = 2;
const STEP = 20;

const section = () => /** @type {HTMLElement | null} */ (document.querySelector("[data-parallel]"));

function show() {
  const area = section();
  if (!area) return;
  const axes = /** @type {SVGGElement[]} */ ([...area.querySelectorAll("[data-axis]")]);
  const kept = axes.map((axis) => brushes.get(titleOf(axis)));
  for (const line of /** @type {NodeListOf<SVGElement>} */ (area.querySelectorAll("[data-heights]"))) {
    const heights = (line.dataset.heights ?? "").split(",");
    line.classList.toggle("out", kept.some((range, i) => range && (heights[i] === "" || Number(heights[i]) < range[0] || Number(heights[i]) > range[1])));
  }
  for (const hit of /** @type {NodeListOf<HTMLElement>} */ (area.querySelectorAll(".hit"))) {
    const range = brushes.get(hit.dataset.title ?? "");
    const mark = /** @type {HTMLElement} */ (hit.firstElementChild);
    mark.hidden = !range;
    if (range) {
      mark.style.top = `${range[0]}%`;
      mark.style.height = `${Math.max(1, range[1] - range[0])}%`;
    }
    hit.setAttribute("aria-valuetext", range ? `${area.querySelectorAll("[data-heights]:not(.out)").length} lines pass` : "all");
  }
  /** @type {HTMLElement} */ (area.querySelector("[data-brush-clear]")).hidden = !brushes.size;
}

const titleOf = (/** @type {Element} */ axis) => axis.querySelector(".title")?.textContent ?? "";

function prepare() {
  const plot = section()?.querySelector(".plot");
  if (!plot || plot.querySelector(".hit")) return;
  const axes = [...plot.querySelectorAll("[data-axis]")];
  axes.forEach((axis, i) => {
    const hit = document.createElement("div");
    hit.className = "hit";
    hit.tabIndex = 0;
    hit.dataset.title = titleOf(axis);
    hit.style.left = `${(100 * i) / (axes.length - 1)}%`;
    for (const [name, value] of [["role", "slider"], ["aria-orientation", "vertical"], ["aria-valuenow", "0"], ["aria-label", `keep what passes through a part of ${titleOf(axis)}; arrows move it, Escape lets go`]]) hit.setAttribute(name, value);
    hit.append(document.createElement("i"));
    plot.append(hit);
    listen(hit);
  });
  show();
}

/** @param {HTMLElement} hit */
function listen(hit) {
  const title = hit.dataset.title ?? "";
  /** @type {number | null} */
  let start = null;
  const at = (/** @type {PointerEvent} */ event) => {
    const box = hit.getBoundingClientRect();
    return Math.max(0, Math.min(100, (100 * (event.clientY - box.top)) / box.height));
  };
  hit.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    hit.setPointerCapture(event.pointerId);
    start = at(event);
  });
  hit.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const now = at(event);
    if (Math.abs(now - start) < SMALLEST) return;
    brushes.set(title, [Math.min(start, now), Math.max(start, now)]);
    show();
  });
  hit.addEventListener("pointerup", () => (start = null));
  hit.addEventListener("dblclick", () => {
    brushes.delete(title);
    show();
  });
  hit.addEventListener("keydown", (event) => {
    const range = brushes.get(title);
    if (event.key === "Escape") brushes.delete(title);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const top = range ? range[0] + (event.key === "ArrowDown" ? STEP / 2 : -STEP / 2) : event.key === "ArrowUp" ? 0 : 100 - STEP;
      const from = Math.max(0, Math.min(100 - STEP, top));
      brushes.set(title, [from, from + STEP]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    show();
  });
}

document.addEventListener("click", (event) => {
  if (!(/** @type {HTMLElement} */ (event.target).closest?.("[data-brush-clear]"))) return;
  brushes.clear();
  show();
});
prepare();
document.addEventListener("htmx:afterSettle", prepare);
