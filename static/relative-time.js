/** Times in the viewer's words and time zone; the title of each has the full date and time. */

import { queryAll } from "./dom.js";

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

const dateAndTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** How a time is written, by the `data-shown` of its element. @type {Record<string, (date: Date) => string>} */
const writers = {
  clock: (date) => clock.format(date),
  date: (date) => dateAndTime.format(date),
  future: (date) => futureTime(date, Date.now()),
};

/**
 * How long ago a time was; from two weeks on, its date.
 * @param {Date} date
 * @param {number} now milliseconds since 1970
 * @returns {string}
 */
export function relativeTime(date, now) {
  const seconds = Math.round((now - date.getTime()) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86400 * 14) return `${Math.floor(seconds / 86400)} d ago`;
  return day.format(date);
}

/**
 * How long until a time.
 * @param {Date} date
 * @param {number} now milliseconds since 1970
 * @returns {string}
 */
export function futureTime(date, now) {
  const seconds = Math.round((date.getTime() - now) / 1000);
  if (seconds < 1) return "now";
  if (seconds < 60) return `in ${seconds} s`;
  if (seconds < 3600) return `in ${Math.floor(seconds / 60)} min`;
  if (seconds < 86400 * 2) return `in ${Math.floor(seconds / 3600)} h`;
  return `in ${Math.round(seconds / 86400)} d`;
}

/** @param {number} milliseconds since 1970 */
export const clockTime = (milliseconds) => clock.format(new Date(milliseconds));

/** Rewrite the times within a part of the page, which the server writes in UTC. */
export function showTimes(/** @type {ParentNode} */ root) {
  for (const element of queryAll(root, "time[datetime]", HTMLTimeElement)) {
    const date = new Date(element.dateTime);
    const write = writers[element.dataset.shown ?? ""];
    const text = write ? write(date) : relativeTime(date, Date.now());
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = full.format(date);
  }
}
