/** The predictions of a run: the epoch scrubber, the threshold of confidence, and a matrix of many classes. */

import { drawMatrix } from "./confusion-canvas.js";
import { byId, embeddedJson, query, queryAll } from "./dom.js";
import { debounce } from "./timers.js";

const ADDRESS_MILLISECONDS = 300;

const view = byId("view", HTMLElement);
/** What was chosen stays when another epoch is shown. */
const chosen = { threshold: "", zoom: "" };

/** Fit what the server has rendered with what only works with a script. */
function revive() {
  /** @type {import("./confusion-canvas.js").Matrix | null} */
  const matrix = embeddedJson("matrix-data", null);
  if (matrix) {
    const zoom = byId("zoom", HTMLSelectElement);
    if (chosen.zoom) zoom.value = chosen.zoom;
    zoom.addEventListener("change", () => {
      chosen.zoom = zoom.value;
    });
    drawMatrix(matrix);
  }
  const slider = byId("threshold", HTMLInputElement);
  if (chosen.threshold) slider.value = chosen.threshold;
  slider.addEventListener("input", cover);
  slider.addEventListener("input", keepThreshold);
  cover();
}

/** The address, and the links to other views of this page, have the threshold. */
const keepThreshold = debounce(ADDRESS_MILLISECONDS, () => keep(location.pathname, "threshold", chosen.threshold));

/** Set or remove a parameter of the address and of the links to the other views: of all, or of those with a path. */
function keep(
  /** @type {string | null} */ path,
  /** @type {string} */ name,
  /** @type {string | null | undefined} */ value,
) {
  const change = (/** @type {URL} */ url) => {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
    return url.href;
  };
  history.replaceState(history.state, "", change(new URL(location.href)));
  for (const link of queryAll(document, "a[data-view]", HTMLAnchorElement))
    if (path === null || new URL(link.href).pathname === path) link.href = change(new URL(link.href));
}

/** Say how accurate the images above the threshold are, and mark the place in the curve. */
function cover() {
  /** @type {{ thresholds: number[], coverage: number[], accuracy: (number | null)[] }} */
  const data = embeddedJson("coverage-data", { thresholds: [], coverage: [], accuracy: [] });
  const slider = byId("threshold", HTMLInputElement);
  chosen.threshold = slider.value;
  const place = Math.round(Number(slider.value) * (data.thresholds.length - 1));
  const [share, right] = [data.coverage[place], data.accuracy[place]];
  byId("threshold-shown", HTMLOutputElement).value = slider.value;
  const at = document.getElementById("coverage-at");
  const floor = Number(at?.closest("svg")?.dataset.floor ?? 0);
  const sentence = byId("coverage-sentence", HTMLElement);
  if (right === null) {
    sentence.textContent = `No image has a confidence of ${slider.value} or more.`;
    at?.setAttribute("cx", "-9");
    return;
  }
  sentence.textContent = `Answer only from ${slider.value} on: ${(100 * right).toFixed(1)}% right on ${(100 * share).toFixed(1)}% of the images.`;
  at?.setAttribute("cx", String(36 + 300 * share));
  at?.setAttribute("cy", String(196 - (190 * (right - floor)) / (1 - floor)));
}

// Epochs --------------------------------------------------------------------------------------------------------------

const form = query(document, "#scrubber", HTMLFormElement);
if (form) scrub(form);

function scrub(/** @type {HTMLFormElement} */ form) {
  const range = byId("epoch-range", HTMLInputElement);
  const shown = byId("epoch-shown", HTMLOutputElement);
  const epochs = (form.dataset.epochs ?? "").split(",");
  let busy = false;
  let wanted = range.value;
  let drawn = range.value;

  function address() {
    const url = new URL(location.href);
    const epoch = epochs[Number(wanted)];
    if (epoch === undefined) url.searchParams.delete("epoch");
    else url.searchParams.set("epoch", epoch);
    return url;
  }

  async function follow() {
    if (busy) return;
    busy = true;
    view.setAttribute("aria-busy", "true");
    // One question at a time; of the epochs passed meanwhile, only the last one counts.
    while (wanted !== drawn) {
      const asked = wanted;
      const url = address();
      const response = await fetch(url, { headers: { "HX-Request": "true" } }).catch(() => null);
      if (!response?.ok) break;
      view.innerHTML = await response.text();
      drawn = asked;
      keep(null, "epoch", url.searchParams.get("epoch"));
      revive();
    }
    view.setAttribute("aria-busy", "false");
    busy = false;
  }

  range.addEventListener("input", () => {
    wanted = range.value;
    shown.value = epochs[Number(wanted)] ?? "best checkpoint";
    range.setAttribute("aria-valuetext", shown.value);
    follow();
  });
  range.setAttribute("aria-valuetext", shown.value);
}

revive();
