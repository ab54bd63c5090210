/** The end of a run's log: followed, searched, and narrowed to a level. */

import { clockTime } from "./time.js";

const MOST = 2000;
const LEVELS = ["debug", "info", "warning", "error"];

/** @typedef {{id: number, time: number, level: string, text: string}} Line */

/**
 * @param {() => boolean} growing whether more may come
 * @returns {(lines: Line[]) => void} adds lines at the end, each once
 */
export function tail(growing) {
  const log = /** @type {HTMLElement} */ (document.getElementById("log"));
  const list = /** @type {HTMLElement} */ (document.getElementById("log-lines"));
  const follow = /** @type {HTMLButtonElement} */ (document.getElementById("log-follow"));
  const state = /** @type {HTMLElement} */ (document.getElementById("log-state"));
  const search = /** @type {HTMLInputElement} */ (document.getElementById("log-search"));
  const level = /** @type {HTMLSelectElement} */ (document.getElementById("log-level"));
  let following = true;
  let last = Number(list.lastElementChild?.getAttribute("data-line") ?? 0);

  const toEnd = () => (log.scrollTop = log.scrollHeight);

  function say() {
    follow.hidden = following;
    const narrowed = search.value || level.value;
    const rows = /** @type {HTMLElement[]} */ ([...list.querySelectorAll("[data-line]")]);
    if (narrowed) state.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} lines`;
    else if (growing()) state.textContent = following ? "following" : "paused; scroll to the end to follow";
    else state.textContent = `${rows.length} line${rows.length === 1 ? "" : "s"}`;
  }

  /** Whether it is shown, and what in it was looked for. */
  function dress(/** @type {HTMLElement} */ row) {
    const words = search.value.trim().toLowerCase();
    const time = row.querySelector("time");
    const text = row.dataset.text ?? (row.dataset.text = [...row.childNodes].filter((node) => node !== time).map((node) => node.textContent).join(""));
    const least = LEVELS.indexOf(level.value);
    row.hidden = (words !== "" && !text.toLowerCase().includes(words)) || (level.value !== "" && LEVELS.indexOf(row.className) < least);
    if (!words && !row.querySelector("mark")) return;
    const parts = [];
    let from = 0;
    for (let at = words ? text.toLowerCase().indexOf(words) : -1; at >= 0; at = text.toLowerCase().indexOf(words, from)) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(at, at + words.length);
      parts.push(text.slice(from, at), mark);
      from = at + words.length;
    }
    row.replaceChildren(...(time ? [time] : []), ...parts, text.slice(from));
  }

  function narrow() {
    for (const row of list.querySelectorAll("[data-line]")) dress(/** @type {HTMLElement} */ (row));
    if (following) toEnd();
    say();
  }

  log.addEventListener("scroll", () => {
    following = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
    say();
  });
  follow.addEventListener("click", toEnd);
  search.addEventListener("input", narrow);
  level.addEventListener("change", narrow);
  toEnd();
  say();

  return (lines) => {
    log.querySelector("[data-none]")?.remove();
    for (const line of lines) {
      if (line.id <= last) continue;
      last = line.id;
      const row = document.createElement("div");
      row.className = line.level;
      row.dataset.line = String(line.id);
      const time = document.createElement("time");
      time.dateTime = new Date(line.time * 1000).toISOString();
      time.dataset.shown = "clock";
      time.textContent = clockTime(line.time * 1000);
      row.append(time, line.text);
      if (search.value || level.value) dress(row);
      list.append(row);
    }
    while (list.childElementCount > MOST) list.firstElementChild?.remove();
    if (following) toEnd();
    say();
  };
}
