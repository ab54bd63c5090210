/** A run's status and progress in the browser tab: its title and its icon. */

import { query } from "./dom.js";

/** @type {Record<string, {color: string, mark: string}>} */
const STATUSES = {
  succeeded: { color: "#1a7044", mark: "✓" },
  failed: { color: "#b92a2a", mark: "✗" },
  lost: { color: "#7136b3", mark: "?" },
  cancelled: { color: "#5c616a", mark: "■" },
  queued: { color: "#775300", mark: "…" },
};
const RUNNING_COLOR = "#185fb8";
const RADIUS = 6;
let shown = "";

/**
 * A ring that is filled by a share, as an SVG data URL.
 * @param {string} color
 * @param {number} share
 */
function ringIcon(color, share) {
  const around = 2 * Math.PI * RADIUS;
  const ring = (/** @type {string} */ attributes) =>
    `<circle cx='8' cy='8' r='${RADIUS}' fill='none' stroke-width='4' ${attributes}/>`;
  const dashes = `${(share * around).toFixed(1)} ${around.toFixed(1)}`;
  const filled = `stroke='${color}' stroke-dasharray='${dashes}' transform='rotate(-90 8 8)'`;
  const rings = ring("stroke='#8886'") + ring(filled);
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${rings}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** Show the status that the page's heading has. */
export function showStatusInTab() {
  const heading = query(document, "#run-head .page-head", HTMLElement);
  if (!heading) return;
  const status = heading.dataset.status ?? "";
  const share = Number(heading.dataset.share);
  const percent = Math.floor(100 * share);
  if (shown === `${status} ${percent}`) return;
  shown = `${status} ${percent}`;
  const settled = STATUSES[status];
  document.title = `${settled?.mark ?? `${percent}%`} ${heading.dataset.title} · Runyard`;
  const icon = query(document, "link[rel=icon]", HTMLLinkElement);
  // A run that has just begun shows at least a trace of color.
  if (icon) icon.href = settled ? ringIcon(settled.color, 1) : ringIcon(RUNNING_COLOR, Math.max(0.02, share));
}
