/** The queue page: buttons, keys and drops send requests, and each response updates the list. */

import { byId, closest, get, query, queryAll } from "./dom.js";
import { enableRowDragging } from "./drag-rows.js";
import { morph } from "./morph.js";
import { showTimes } from "./relative-time.js";
import { throttle } from "./timers.js";

const ROW = "#queue-rows > li";
/** Parameters of the URL that report the last action. */
const NOTICE_PARAMETERS = ["undo", "back_again", "stopped"];
const REFRESH_MILLISECONDS = 400;

const area = byId("queue", HTMLElement);
/** @type {Set<string>} */
const selected = new Set();

const rows = () => queryAll(area, ROW, HTMLElement);
const rowOf = (/** @type {string} */ run) => rows().find((row) => row.dataset.run === run);
const checkboxOf = (/** @type {HTMLElement} */ row) => get(row, "input[name=runs]", HTMLInputElement);
const total = () => document.getElementById("queue-total")?.textContent?.match(/[\d,]+/)?.[0] ?? "0";

/** Announce a message to screen readers; everyone sees why an action was rejected. */
function report(/** @type {string} */ message, rejected = false) {
  const output = document.getElementById("queue-said");
  if (!output) return;
  output.textContent = message;
  output.className = rejected ? "notice bad" : "hidden-text";
}

/** This page's URL without the notices. */
function pageUrl() {
  const url = new URL(location.href);
  for (const name of NOTICE_PARAMETERS) url.searchParams.delete(name);
  return url.pathname + url.search;
}

// Updates -------------------------------------------------------------------------------------------------------------

/** @param {string} html a page of the queue */
function update(html) {
  const focused = focusSelector();
  const parts = queryAll(new DOMParser().parseFromString(html, "text/html"), "[data-part]", HTMLElement);
  morph(area, parts, true);
  showTimes(area);
  showSelection();
  if (focused) restoreFocus(focused);
}

/** A selector that finds the focused element again after an update; "" if there is none. */
function focusSelector() {
  const focused = document.activeElement;
  const row = focused?.closest(ROW);
  if (!focused || !row || focused === row) return focused?.id ? `#${focused.id}` : "";
  const name = focused.getAttribute("name");
  const value = focused instanceof HTMLButtonElement ? `[value=${focused.value}]` : "";
  return `#${row.id} ${focused.localName}${name ? `[name=${name}]` : ""}${value}`;
}

/** @param {string} selector */
function restoreFocus(selector) {
  const element = query(document, selector, HTMLElement);
  if (element === document.activeElement) return;
  const disabled = element instanceof HTMLButtonElement && element.disabled;
  (disabled ? closest(element, ROW, HTMLElement) : element)?.focus({ preventScroll: true });
}

/** Show which rows are selected, and their number. */
function showSelection() {
  const onPage = new Set(rows().map((row) => row.dataset.run ?? ""));
  for (const run of selected) if (!onPage.has(run)) selected.delete(run);
  for (const row of rows()) checkboxOf(row).checked = selected.has(row.dataset.run ?? "");
  const label = area.querySelector("[data-selected]");
  if (label) label.textContent = selected.size ? `${selected.size} selected` : "None selected";
  area.querySelector(".selection")?.toggleAttribute("data-none", !selected.size);
  const button = query(document, "#cancel-selected", HTMLButtonElement);
  if (button) button.disabled = !selected.size;
}

// Requests ------------------------------------------------------------------------------------------------------------

let lastRequest = Promise.resolve();
let pendingActions = 0;

/**
 * Send a request after all earlier ones, so that the last response is the newest.
 * @param {string} url
 * @param {URLSearchParams | null} body of an action; null to reload the page's content
 * @param {() => void} onSuccess
 */
function send(url, body, onSuccess) {
  pendingActions += body ? 1 : 0;
  lastRequest = lastRequest.then(async () => {
    try {
      const method = body ? "POST" : "GET";
      const response = await fetch(url, { method, body, headers: { "HX-Request": "true" } });
      const html = await response.text();
      pendingActions -= body ? 1 : 0;
      if (!response.ok) {
        const error = new DOMParser().parseFromString(html, "text/html").querySelector("main p")?.textContent;
        report(error?.trim() || "The server rejected this action.", true);
        if (body) refresh();
        return;
      }
      if (body) history.replaceState(null, "", response.url);
      // The response to a reload is older than an action that began since.
      if (body || !isBusy()) update(html);
      onSuccess();
    } catch {
      report("The server is not responding.", true);
    }
  });
}

/**
 * @param {string} run
 * @param {string} action
 * @param {Record<string, string>} parameters
 */
function act(run, action, parameters = {}) {
  const title = rowOf(run)?.dataset.title ?? "The run";
  const index = rows().findIndex((row) => row.dataset.run === run);
  send("/queue/act", new URLSearchParams({ run, act: action, back: pageUrl(), ...parameters }), () => {
    const row = rowOf(run);
    if (action === "cancel") reportCancelled(index);
    else
      report(row ? `${title} moved to position ${row.dataset.place} of ${total()}` : `${title} moved to another page`);
  });
}

/** Report how many runs were cancelled, and move the focus to the row that took their place. */
function reportCancelled(/** @type {number} */ index) {
  const notice = document.getElementById("undo-notice");
  const text = notice?.querySelector("span")?.textContent ?? "Stopping…";
  report(`${text} ${notice ? "Use the Undo button at the top of the page." : ""}`);
  if (document.activeElement && document.activeElement !== document.body) return;
  const remaining = rows();
  const next = remaining[Math.min(Math.max(index, 0), remaining.length - 1)] ?? document.getElementById("undo-cancel");
  next?.focus({ preventScroll: true });
}

function cancelSelected() {
  const body = new URLSearchParams({ back: pageUrl() });
  const index = rows().findIndex((row) => selected.has(row.dataset.run ?? ""));
  for (const run of selected) body.append("runs", run);
  send("/queue/cancel", body, () => reportCancelled(index));
}

/** Whether the user drags, types a number or waits for an action: updates are postponed until then. */
function isBusy() {
  return isDragging() || pendingActions > 0 || document.activeElement?.matches(`${ROW} input[type=number]`) === true;
}

let postponed = false;
const refresh = throttle(REFRESH_MILLISECONDS, () => {
  postponed = isBusy();
  if (!postponed) send(location.href, null, () => {});
});
const refreshIfPostponed = () => {
  if (postponed) refresh();
};

document.body.addEventListener("yard-changed", refresh);
area.addEventListener("focusout", () => setTimeout(refreshIfPostponed));

const isDragging = enableRowDragging(
  area,
  ROW,
  (row, other, before) => act(row.dataset.run ?? "", before ? "before" : "after", { other: other.dataset.run ?? "" }),
  refreshIfPostponed,
);

// Forms ---------------------------------------------------------------------------------------------------------------

area.addEventListener("submit", (event) => {
  const { submitter: button, target: form } = event;
  if (!(form instanceof HTMLFormElement)) return;
  event.preventDefault();
  const { name = "", value = "" } = button instanceof HTMLButtonElement ? button : {};
  const run = closest(form, ROW, HTMLElement)?.dataset.run;
  if (run) {
    const priority = get(form, "input[type=number]", HTMLInputElement).value;
    act(run, value || "priority", { priority });
    return;
  }
  if (form.id === "queue-form" && name !== "all") {
    cancelSelected();
    return;
  }
  const body = new URLSearchParams();
  for (const [key, entry] of new FormData(form, button)) if (typeof entry === "string") body.append(key, entry);
  body.set("back", pageUrl());
  send(form.action, body, () => {
    const notices = area.querySelector("[data-part=notices]")?.textContent?.trim().replace(/\s+/g, " ");
    if (form.id === "queue-form") reportCancelled(0);
    else report(notices || "Queue resumed.");
  });
});

area.addEventListener("change", ({ target: input }) => {
  if (!(input instanceof HTMLInputElement)) return;
  const run = closest(input, ROW, HTMLElement)?.dataset.run ?? "";
  if (input.name === "runs") {
    if (input.checked) selected.add(run);
    else selected.delete(run);
    showSelection();
  } else if (input.name === "priority" && !input.checkValidity()) {
    report(`The priority was not changed: ${input.validationMessage}`, true);
    input.value = input.defaultValue;
  } else if (input.name === "priority") {
    // From here on the server's value counts, also if it rejects this one.
    input.defaultValue = input.value;
    act(run, "priority", { priority: input.value || "0" });
  }
});

// Keyboard ------------------------------------------------------------------------------------------------------------

/** The moves of Alt and a key. @type {Record<string, string>} */
const MOVES = { ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };

area.addEventListener("keydown", (event) => {
  const { key, target } = event;
  const row = closest(target, ROW, HTMLElement);
  if (!row || event.ctrlKey || event.metaKey) return;
  if (target instanceof Element && target.matches("input[type=number]")) return;
  const run = row.dataset.run ?? "";
  if (event.altKey) {
    if (!MOVES[key]) return;
    row.focus({ preventScroll: true });
    act(run, MOVES[key]);
  } else if (key === "Delete") {
    if (selected.has(run)) cancelSelected();
    else act(run, "cancel");
  } else if (key === " " && target === row) {
    checkboxOf(row).click();
  } else if (key === "Enter" && target === row) {
    location.assign(`/runs/${run}`);
  } else if (["ArrowDown", "ArrowUp", "j", "k"].includes(key)) {
    const all = rows();
    const next = all[all.indexOf(row) + (key === "ArrowDown" || key === "j" ? 1 : -1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  } else return;
  event.preventDefault();
});

showSelection();
