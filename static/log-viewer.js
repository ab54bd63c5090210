/** The tail of a run's log: follows new lines, searches, and filters by level. */

import { byId, query, queryAll } from "./dom.js";
import { clockTime } from "./relative-time.js";

const MAX_LINES = 2000;
const LEVELS = ["debug", "info", "warning", "error"];
/** A log that is scrolled to within this distance from its end follows new lines. */
const END_PIXELS = 24;

/** @typedef {{id: number, time: number, level: string, text: string}} Line */

/**
 * @param {() => boolean} isGrowing whether the log may get more lines
 * @returns {(lines: Line[]) => void} appends lines; a line that is already shown is skipped
 */
export function followLog(isGrowing) {
  const log = byId("log", HTMLElement);
  const list = byId("log-lines", HTMLElement);
  const follow = byId("log-follow", HTMLButtonElement);
  const state = byId("log-state", HTMLElement);
  const search = byId("log-search", HTMLInputElement);
  const level = byId("log-level", HTMLSelectElement);
  let following = true;
  let lastId = Number(list.lastElementChild?.getAttribute("data-line") ?? 0);

  const rows = () => queryAll(list, "[data-line]", HTMLElement);
  const isFiltered = () => search.value !== "" || level.value !== "";
  const scrollToEnd = () => {
    log.scrollTop = log.scrollHeight;
  };

  function showState() {
    follow.hidden = following;
    const all = rows();
    if (isFiltered()) state.textContent = `${all.filter((row) => !row.hidden).length} of ${all.length} lines`;
    else if (isGrowing()) state.textContent = following ? "following" : "paused";
    else state.textContent = `${all.length} line${all.length === 1 ? "" : "s"}`;
  }

  /** Hide a row that does not pass the filter, and mark the search's matches in it. */
  function filterRow(/** @type {HTMLElement} */ row) {
    const wanted = search.value.trim().toLowerCase();
    const time = row.querySelector("time");
    row.dataset.text ??= [...row.childNodes]
      .filter((node) => node !== time)
      .map((node) => node.textContent)
      .join("");
    const { text = "" } = row.dataset;
    const lower = text.toLowerCase();
    const belowLevel = level.value !== "" && LEVELS.indexOf(row.className) < LEVELS.indexOf(level.value);
    row.hidden = belowLevel || !lower.includes(wanted);
    if (!wanted && !row.querySelector("mark")) return;
    const parts = [];
    let from = 0;
    for (let at = wanted ? lower.indexOf(wanted) : -1; at >= 0; at = lower.indexOf(wanted, from)) {
      const mark = document.createElement("mark");
      mark.textContent = text.slice(at, at + wanted.length);
      parts.push(text.slice(from, at), mark);
      from = at + wanted.length;
    }
    row.replaceChildren(...(time ? [time] : []), ...parts, text.slice(from));
  }

  function filter() {
    for (const row of rows()) filterRow(row);
    if (following) scrollToEnd();
    showState();
  }

  log.addEventListener("scroll", () => {
    following = log.scrollHeight - log.scrollTop - log.clientHeight < END_PIXELS;
    showState();
  });
  follow.addEventListener("click", scrollToEnd);
  search.addEventListener("input", filter);
  level.addEventListener("change", filter);
  scrollToEnd();
  showState();

  return (lines) => {
    query(log, "[data-none]", Element)?.remove();
    for (const line of lines) {
      if (line.id <= lastId) continue;
      lastId = line.id;
      const row = document.createElement("div");
      row.className = line.level;
      row.dataset.line = String(line.id);
      const time = document.createElement("time");
      time.dateTime = new Date(line.time * 1000).toISOString();
      time.dataset.shown = "clock";
      time.textContent = clockTime(line.time * 1000);
      row.append(time, line.text);
      if (isFiltered()) filterRow(row);
      list.append(row);
    }
    while (list.childElementCount > MAX_LINES) list.firstElementChild?.remove();
    if (following) scrollToEnd();
    showState();
  };
}
