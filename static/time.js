/** Times as the viewer reads them: relative words or the viewer's own clock, the full time in the title. */

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/**
 * @param {Date} at
 * @param {number} now milliseconds since 1970
 * @returns {string}
 */
export function relative(at, now) {
  const seconds = Math.round((now - at.getTime()) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86400 * 14) return `${Math.floor(seconds / 86400)} d ago`;
  return day.format(at);
}

/** @param {number} milliseconds since 1970 */
export const clockTime = (milliseconds) => clock.format(new Date(milliseconds));

/** @param {ParentNode} within */
export function showTimes(within) {
  for (const element of /** @type {NodeListOf<HTMLTimeElement>} */ (within.querySelectorAll("time[datetime]"))) {
    const at = new Date(element.dateTime);
    const words = element.dataset.shown === "clock" ? clock.format(at) : relative(at, Date.now());
    if (element.textContent !== words) element.textContent = words;
    if (!element.title) element.title = full.format(at);
  }
}
