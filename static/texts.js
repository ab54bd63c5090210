/** The page of a run's texts: the slider says its step, and follows the newest text of a live run. */

import { byId, query } from "./dom.js";

if (document.getElementById("texts")) {
  const slider = byId("step", HTMLInputElement);
  document.addEventListener("htmx:afterSettle", () => {
    slider.setAttribute("aria-valuetext", query(document, "#text-at", HTMLElement)?.dataset.words ?? "");
    const last = Number(query(document, "#names [data-count]", HTMLElement)?.dataset.count ?? 1) - 1;
    if (last <= Number(slider.max)) return;
    const newest = slider.value === slider.max;
    slider.max = String(last);
    slider.disabled = false;
    if (!newest) return;
    slider.value = slider.max;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
