/** The queue: every button, key and drop asks the server, and what it answers takes the place of what is shown. */

import { draggable } from "./drag.js";
import { throttled } from "./live.js";
import { showTimes } from "./time.js";

const ROW = "#queue-rows > li";
const NOTICES = ["undo", "back_again", "stopped"];

const area = /** @type {HTMLElement} */ (document.getElementById("queue"));
/** @type {Set<string>} */
const selected = new Set();
/** What the server sent for an element: times are written over on the page. @type {WeakMap<Element, string>} */
const sent = new WeakMap();

const rows = () => /** @type {HTMLElement[]} */ ([...area.querySelectorAll(ROW)]);
const rowOf = (/** @type {string} */ run) => rows().find((row) => row.dataset.run === run);
const boxOf = (/** @type {HTMLElement} */ row) => /** @type {HTMLInputElement} */ (row.querySelector("input[name=runs]"));
const total = () => document.getElementById("queue-total")?.textContent?.match(/[\d,]+/)?.[0] ?? "0";

/** @param {string} words */
function say(words) {
  const said = document.getElementById("queue-said");
  if (said) said.textContent = words;
}

/** This page's address without what was last done on it. */
function here() {
  const address = new URL(location.href);
  for (const name of NOTICES) address.searchParams.delete(name);
  return address.pathname + address.search;
}

// Showing -------------------------------------------------------------------------------------------------------------

/** @param {string} html */
function show(html) {
  const focused = whereFocusIs();
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const parts = /** @type {HTMLElement[]} */ ([...fresh.querySelectorAll("[data-part]")]);
  for (const old of area.querySelectorAll("[data-part]")) {
    if (!parts.some((part) => part.dataset.part === /** @type {HTMLElement} */ (old).dataset.part)) old.remove();
  }
  for (const part of parts) showPart(part);
  showTimes(area);
  mark();
  if (focused) refocus(focused);
}

/** @param {HTMLElement} part */
function showPart(part) {
  const old = area.querySelector(`[data-part=${part.dataset.part}]`);
  const list = old?.querySelector("ol");
  const next = part.querySelector("ol");
  if (!old) area.append(part);
  else if (list && next) showRows(list, next);
  else if (sent.get(old) !== part.outerHTML) {
    sent.set(part, part.outerHTML);
    old.replaceWith(part);
  }
}

/**
 * Rows that came back as they were stay the elements that they are.
 * @param {HTMLOListElement} list
 * @param {HTMLOListElement} next
 */
function showRows(list, next) {
  const old = new Map(rows().map((row) => [row.id, row]));
  list.start = next.start;
  const wanted = [...next.children].map((row) => {
    const kept = old.get(row.id);
    const html = row.outerHTML;
    if (kept && sent.get(kept) === html) return kept;
    sent.set(row, html);
    return row;
  });
  wanted.forEach((row, i) => {
    if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
  });
  while (list.children.length > wanted.length) list.lastElementChild?.remove();
}

/** A selector of what has the focus, which finds it again once it was made anew. */
function whereFocusIs() {
  const focused = document.activeElement;
  const row = focused?.closest(ROW);
  if (!focused || !row || focused === row) return focused?.id ? `#${focused.id}` : "";
  const { name, value } = /** @type {HTMLButtonElement} */ (focused);
  const button = focused.matches("button") ? `[value=${value}]` : "";
  return `#${row.id} ${focused.localName}${name ? `[name=${name}]` : ""}${button}`;
}

/** @param {string} where */
function refocus(where) {
  const found = /** @type {HTMLButtonElement | null} */ (document.querySelector(where));
  if (found === document.activeElement) return;
  const row = /** @type {HTMLElement | null | undefined} */ (found?.closest(ROW));
  (found?.disabled ? row : found)?.focus({ preventScroll: true });
}

/** Put on the page what is selected, and on the bar how many. */
function mark() {
  const there = new Set(rows().map((row) => row.dataset.run ?? ""));
  for (const run of selected) if (!there.has(run)) selected.delete(run);
  for (const row of rows()) boxOf(row).checked = selected.has(row.dataset.run ?? "");
  const words = area.querySelector("[data-selected]");
  if (words) words.textContent = selected.size ? `${selected.size} selected` : "None selected";
  area.querySelector(".selection")?.toggleAttribute("data-none", !selected.size);
  const button = /** @type {HTMLButtonElement | null} */ (document.getElementById("cancel-selected"));
  if (button) button.disabled = !selected.size;
}

// Asking --------------------------------------------------------------------------------------------------------------

let asked = Promise.resolve();
let acts = 0;

/**
 * One after the other, so that the last answer is the newest.
 * @param {string} address
 * @param {URLSearchParams | null} body
 * @param {(text: string) => void} done
 */
function ask(address, body, done) {
  acts += body ? 1 : 0;
  asked = asked.then(async () => {
    try {
      const answer = await fetch(address, { method: body ? "POST" : "GET", body, headers: { "HX-Request": "true" } });
      const text = await answer.text();
      acts -= body ? 1 : 0;
      if (!answer.ok) {
        const told = new DOMParser().parseFromString(text, "text/html").querySelector("main p")?.textContent;
        say(told?.trim() || "That cannot be done now.");
        if (body) refresh();
        return;
      }
      if (body) history.replaceState(null, "", answer.url);
      // What was asked in between has moved things already.
      if (body || !busy()) show(text);
      done(text);
    } catch {
      say("The server does not answer.");
    }
  });
}

/**
 * @param {string} run
 * @param {string} act
 * @param {Record<string, string>} more
 */
function act(run, act, more = {}) {
  const title = rowOf(run)?.dataset.title ?? "The run";
  const at = rows().findIndex((row) => row.dataset.run === run);
  const body = new URLSearchParams({ run, act, back: here(), ...more });
  ask("/queue/act", body, () => {
    const row = rowOf(run);
    if (act === "cancel") gone(at);
    else say(row ? `${title} is number ${row.dataset.place} of ${total()}` : `${title} has left this page of the queue`);
  });
}

/** Runs were cancelled: say how many, and stay near where they were. @param {number} at */
function gone(at) {
  const notice = document.getElementById("undo-notice");
  say(`${notice?.querySelector("span")?.textContent ?? "Asked to stop."} ${notice ? "Undo stands at the top of the page." : ""}`);
  if (document.activeElement && document.activeElement !== document.body) return;
  const left = rows();
  const next = left[Math.min(Math.max(at, 0), left.length - 1)] ?? document.getElementById("undo-cancel");
  next?.focus({ preventScroll: true });
}

function cancelSelected() {
  const body = new URLSearchParams({ back: here() });
  const at = rows().findIndex((row) => selected.has(row.dataset.run ?? ""));
  for (const run of selected) body.append("runs", run);
  ask("/queue/cancel", body, () => gone(at));
}

/** Someone drags, writes a number, or waits for an answer: what changed meanwhile is shown afterwards. */
function busy() {
  return dragging() || acts > 0 || document.activeElement?.matches(`${ROW} input[type=number]`) === true;
}

let late = false;
const refresh = throttled(400, () => {
  late = busy();
  if (!late) ask(location.href, null, () => {});
});
const catchUp = () => late && refresh();

document.body.addEventListener("yard-changed", refresh);
area.addEventListener("focusout", () => setTimeout(catchUp));

const dragging = draggable(
  area,
  ROW,
  (row, other, before) => act(row.dataset.run ?? "", before ? "before" : "after", { other: other.dataset.run ?? "" }),
  catchUp,
);

// By buttons ----------------------------------------------------------------------------------------------------------

area.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
  event.preventDefault();
  const run = /** @type {HTMLElement | null} */ (form.closest(ROW))?.dataset.run;
  if (run) return act(run, button?.value || "priority", priorityOf(form));
  if (form.id === "queue-form" && button?.name !== "all") return cancelSelected();
  const data = new FormData(form, button);
  data.set("back", here());
  const words = new URLSearchParams(/** @type {any} */ (data));
  ask(form.action, words, () => {
    if (form.id === "queue-form") gone(0);
    else say(area.querySelector("[data-part=notices]")?.textContent?.trim().replace(/\s+/g, " ") || "The queue goes on.");
  });
});

/** @param {HTMLFormElement} form */
function priorityOf(form) {
  return { priority: /** @type {HTMLInputElement} */ (form.querySelector("input[type=number]")).value };
}

area.addEventListener("change", (event) => {
  const input = /** @type {HTMLInputElement} */ (event.target);
  const row = /** @type {HTMLElement | null} */ (input.closest(ROW));
  const run = row?.dataset.run ?? "";
  if (input.name === "runs") {
    if (input.checked) selected.add(run);
    else selected.delete(run);
    mark();
  } else if (input.name === "priority" && input.reportValidity()) act(run, "priority", { priority: input.value || "0" });
});

// By keys -------------------------------------------------------------------------------------------------------------

/** @type {Record<string, string>} */
const MOVES = { ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last" };

area.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  const row = /** @type {HTMLElement | null} */ (target.closest(ROW));
  if (!row || event.ctrlKey || event.metaKey || target.matches("input[type=number]")) return;
  const run = row.dataset.run ?? "";
  if (event.altKey) {
    if (!MOVES[event.key]) return;
    row.focus({ preventScroll: true });
    act(run, MOVES[event.key]);
  } else if (event.key === "Delete") {
    if (selected.has(run)) cancelSelected();
    else act(run, "cancel");
  } else if (event.key === " " && target === row) {
    boxOf(row).click();
  } else if (event.key === "Enter" && target === row) {
    location.assign(`/runs/${run}`);
  } else if (["ArrowDown", "ArrowUp", "j", "k"].includes(event.key)) {
    const all = rows();
    const next = all[all.indexOf(row) + (event.key === "ArrowDown" || event.key === "j" ? 1 : -1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  } else return;
  event.preventDefault();
});

mark();
