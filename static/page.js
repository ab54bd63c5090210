/** What every page does: times, keys, copying, and a stream for the fragments that htmx shows anew. */

import { announce, Stream, throttled } from "./live.js";
import { showTimes } from "./time.js";

showTimes(document);
setInterval(() => showTimes(document), 10_000);
document.addEventListener("htmx:load", (event) => showTimes(/** @type {CustomEvent} */ (event).detail.elt));
// Before it is painted: a time in the server's words, for a moment, would push what stands after it.
document.addEventListener("htmx:afterSwap", (event) => showTimes(/** @type {CustomEvent} */ (event).detail.target));

// A fragment that came back as it was is left alone: focus, hover and animations go on.
/** @type {WeakMap<Element, string>} */
const shown = new WeakMap();
document.addEventListener("htmx:beforeSwap", (event) => {
  const { detail } = /** @type {CustomEvent} */ (event);
  // The answer to a fragment that has been replaced since is out of date.
  const asker = detail.requestConfig.elt;
  if ("refresh" in asker.dataset && !asker.isConnected) detail.shouldSwap = false;
  if (detail.target?.dataset.same !== "skip") return;
  if (shown.get(detail.target) === detail.serverResponse) detail.shouldSwap = false;
  shown.set(detail.target, detail.serverResponse);
  if (!detail.shouldSwap) return;
  typed.clear();
  for (const field of detail.target.querySelectorAll("input[id]:not([type=hidden]), textarea[id]")) {
    if (field.value !== field.defaultValue) typed.set(field.id, field.value);
  }
});

// What was typed into a fragment, and not sent yet, outlives its being shown anew.
/** @type {Map<string, string>} */
const typed = new Map();
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, words] of typed) {
    const field = /** @type {HTMLInputElement | null} */ (document.getElementById(id));
    if (field) field.value = words;
  }
  typed.clear();
});

// Pages about one run hear of it in `run.js`; the others hear that anything changed.
const address = document.body.dataset.stream;
if (address && !document.body.dataset.run) {
  new Stream(address, throttled(1000, () => announce("yard-changed")), null);
}

// Copying -------------------------------------------------------------------------------------------------------------

/**
 * @param {Element} button
 * @param {string} words
 */
async function copy(button, words) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(words);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it by hand";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

document.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest?.("button");
  if (!button) return;
  if (button.dataset.copy) copy(button, document.querySelector(button.dataset.copy)?.textContent ?? "");
  if ("copyLink" in button.dataset) copy(button, location.href);
  if ("keys" in button.dataset) showKeys();
});

// Keys ----------------------------------------------------------------------------------------------------------------

/** Those that do something on this page as it is now. */
function showKeys() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
  for (const each of /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll("[data-needs]"))) each.hidden = !document.querySelector(each.dataset.needs ?? "");
  dialog.showModal();
}

/** Whether a key press belongs to a field that someone writes in. */
export function writing(/** @type {KeyboardEvent} */ event) {
  const target = /** @type {HTMLElement} */ (event.target);
  const box = target instanceof HTMLInputElement && ["checkbox", "radio", "range"].includes(target.type);
  return event.ctrlKey || event.metaKey || event.altKey || (!box && target.matches("input, select, textarea"));
}

let went = 0;
document.addEventListener("keydown", (event) => {
  if (writing(event) || document.querySelector("dialog[open]")) return;
  const followsG = Date.now() - went < 1000;
  went = event.key === "g" ? Date.now() : 0;
  if (event.key === "?") showKeys();
  else if (followsG && event.key === "n") location.assign("/");
  else if (followsG && event.key === "r") location.assign("/runs");
  else if (followsG && event.key === "a") location.assign("/architectures");
  else if (event.key === "l") location.assign("/launch");
  else if (event.key === "/") {
    const search = document.getElementById("search");
    if (!search) return;
    event.preventDefault();
    search.focus();
  }
});
