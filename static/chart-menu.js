/** The menu of a chart: full screen, moving it, and exports as CSV, PNG and SVG. */

import { copyCsv, saveCsv, savePng, saveSvg } from "./chart-export.js";

/** @import { Chart } from "./chart.js" */

const CLOSED_LABEL = "⋯";
const COPIED_MILLISECONDS = 1500;

/** @param {Chart} chart */
export function addMenu(chart) {
  if (chart.box.querySelector(".chart-menu")) return;
  const menu = document.createElement("details");
  menu.className = "chart-menu";
  const summary = document.createElement("summary");
  summary.setAttribute("aria-label", `Menu of the ${chart.definition.title} chart`);
  summary.textContent = CLOSED_LABEL;
  const list = document.createElement("div");

  /**
   * @param {string} label
   * @param {() => unknown} action
   */
  const addItem = (label, action) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", () => {
      menu.open = false;
      action();
    });
    list.append(button);
  };
  const move = (/** @type {number} */ places) => {
    chart.box.dispatchEvent(new CustomEvent("chart-move", { bubbles: true, detail: places }));
    summary.focus();
  };
  const copy = async () => {
    if (!(await copyCsv(chart))) return;
    summary.textContent = "Copied";
    setTimeout(() => {
      summary.textContent = CLOSED_LABEL;
    }, COPIED_MILLISECONDS);
  };

  if (document.fullscreenEnabled) addItem("Full screen", () => chart.uplot && chart.box.requestFullscreen());
  if (chart.box.closest(".chart-group")) {
    addItem("Move left", () => move(-1));
    addItem("Move right", () => move(1));
  }
  addItem("Copy as CSV", copy);
  addItem("Save CSV", () => saveCsv(chart));
  addItem("Save PNG", () => savePng(chart));
  addItem("Save SVG", () => saveSvg(chart));
  menu.append(summary, list);
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    summary.focus();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", (event) => {
    if (!(event.relatedTarget instanceof Node && menu.contains(event.relatedTarget))) menu.open = false;
  });
  chart.box.querySelector("figcaption")?.append(menu);
}
