/** The page of a run's histograms: the slider chooses one of the ridgeline. */

import { byId, query, queryAll } from "./dom.js";

function show() {
  const slider = byId("step", HTMLInputElement);
  for (const each of queryAll(document, "#histograms [data-number]", Element)) {
    each.classList.toggle("chosen", each.getAttribute("data-number") === slider.value);
  }
  const row = query(document, "#as-table tr.chosen", HTMLTableRowElement);
  const words = row?.dataset.words ?? "";
  slider.setAttribute("aria-valuetext", words);
  byId("step-shown", HTMLElement).textContent = words.charAt(0).toUpperCase() + words.slice(1);
}

if (document.getElementById("histograms")) {
  show();
  document.addEventListener("input", (event) => {
    if (!(event.target instanceof HTMLInputElement) || event.target.id !== "step") return;
    show();
    const url = new URL(location.href);
    url.searchParams.set("at", event.target.value);
    history.replaceState(history.state, "", url);
  });
  // A live run may have more of them now.
  document.addEventListener("htmx:afterSettle", show);
}
