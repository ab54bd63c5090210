/** Code of every page: times, keyboard shortcuts, copy buttons, and the stream that refreshes htmx fragments. */

import { byId, closest, query, queryAll } from "./dom.js";
import { announce, EventStream } from "./event-stream.js";
import "./morph.js";
import { showTimes } from "./relative-time.js";
import { throttle } from "./timers.js";

const REFRESH_MILLISECONDS = 1000;
const TIMES_MILLISECONDS = 10_000;
const COPIED_MILLISECONDS = 1500;
/** The second key of a two-key shortcut must follow within this time. */
const SEQUENCE_MILLISECONDS = 1000;

showTimes(document);
setInterval(() => showTimes(document), TIMES_MILLISECONDS);
document.addEventListener("htmx:load", ({ detail }) => showTimes(detail.elt));
// Also before the paint: the server's longer text would shift the layout for a moment.
document.addEventListener("htmx:afterSwap", ({ detail }) => showTimes(detail.target));

// Fragments -----------------------------------------------------------------------------------------------------------

/** The last response for each fragment. @type {WeakMap<Element, string>} */
const lastResponses = new WeakMap();

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { requestConfig, serverResponse, target } = detail;
  // The response to a fragment that was replaced meanwhile, or that asks for something else now, is outdated.
  const { elt, path } = requestConfig;
  if ("refresh" in elt.dataset && (!elt.isConnected || elt.getAttribute("hx-get") !== path)) detail.shouldSwap = false;
  if (target?.dataset.same !== "skip") return;
  // An unchanged fragment needs no work.
  if (lastResponses.get(target) === serverResponse) detail.shouldSwap = false;
  lastResponses.set(target, serverResponse);
});

// The page of a run has its own stream, in run.js. The other pages receive changes of any run.
const streamUrl = document.body.dataset.stream;
if (streamUrl && !document.body.dataset.run) {
  new EventStream(
    streamUrl,
    throttle(REFRESH_MILLISECONDS, () => announce("yard-changed")),
    null,
  );
}

// Copy buttons --------------------------------------------------------------------------------------------------------

/**
 * @param {Element} button
 * @param {string} text
 */
async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copy failed; select the text";
  }
  setTimeout(() => {
    button.textContent = label;
  }, COPIED_MILLISECONDS);
}

document.addEventListener("click", (event) => {
  const button = closest(event.target, "button", HTMLButtonElement);
  if (!button) return;
  if (button.dataset.copy) copy(button, document.querySelector(button.dataset.copy)?.textContent ?? "");
  if ("copyLink" in button.dataset) copy(button, location.href);
  if ("keys" in button.dataset) showShortcuts();
});

// Keyboard shortcuts --------------------------------------------------------------------------------------------------

/** Show the shortcuts that work on the page in its current state. */
function showShortcuts() {
  const dialog = byId("keys", HTMLDialogElement);
  for (const entry of queryAll(dialog, "[data-needs]", HTMLElement)) {
    entry.hidden = !document.querySelector(entry.dataset.needs ?? "");
  }
  dialog.showModal();
}

/** Whether a key press belongs to a text field or to the browser, and is no shortcut. */
export function isTyping(/** @type {KeyboardEvent} */ { altKey, ctrlKey, metaKey, target }) {
  if (ctrlKey || metaKey || altKey) return true;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "range"].includes(target.type);
  return target instanceof Element && target.matches("select, textarea");
}

/** @type {Record<string, string>} */
const PAGES_AFTER_G = { n: "/", r: "/runs", d: "/datasets", a: "/architectures" };

let pressedGAt = 0;
document.addEventListener("keydown", (event) => {
  if (isTyping(event) || document.querySelector("dialog[open]")) return;
  const followsG = Date.now() - pressedGAt < SEQUENCE_MILLISECONDS;
  pressedGAt = event.key === "g" ? Date.now() : 0;
  if (event.key === "?") showShortcuts();
  else if (followsG && Object.hasOwn(PAGES_AFTER_G, event.key)) location.assign(PAGES_AFTER_G[event.key]);
  else if (event.key === "l") location.assign("/launch");
  else if (event.key === "/") {
    const search = query(document, "#search", HTMLElement);
    if (!search) return;
    event.preventDefault();
    search.focus();
  }
});

const RETRY_MILLISECONDS = 700;
const MOST_TRIES = 20;

// An image cannot be drawn while an import is being read again.
document.addEventListener(
  "error",
  ({ target: image }) => {
    if (!(image instanceof HTMLImageElement) || image.dataset.retried === undefined) return;
    const tries = Number(image.dataset.retried);
    if (tries >= MOST_TRIES) return;
    image.dataset.retried = `${tries + 1}`;
    setTimeout(() => image.setAttribute("src", image.src), RETRY_MILLISECONDS);
  },
  true,
);
