/** A run's state in the tab of the browser: its title and its icon show how far it is. */

const COLOURS = { succeeded: "#1a7044", failed: "#b92a2a", lost: "#7136b3", cancelled: "#5c616a", queued: "#775300" };
const MARKS = { succeeded: "✓", failed: "✗", cancelled: "■", lost: "?", queued: "…" };
let shown = "";

/** Show what the head of the page says. */
export function showInTab() {
  const head = /** @type {HTMLElement | null} */ (document.querySelector("#run-head .page-head"));
  if (!head) return;
  const status = head.dataset.status ?? "";
  const share = Number(head.dataset.share);
  const percent = Math.floor(100 * share);
  if (shown === `${status} ${percent}`) return;
  shown = `${status} ${percent}`;
  const mark = MARKS[/** @type {keyof typeof MARKS} */ (status)] ?? `${percent} %`;
  document.title = `${mark} ${head.dataset.title} · Runyard`;
  const colour = COLOURS[/** @type {keyof typeof COLOURS} */ (status)] ?? "#185fb8";
  const part = status in MARKS ? 1 : Math.max(0.02, share);
  const around = 2 * Math.PI * 6;
  const ring = (/** @type {string} */ more) => `<circle cx='8' cy='8' r='6' fill='none' stroke-width='4' ${more}/>`;
  const drawn = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${ring("stroke='#8886'")}${ring(`stroke='${colour}' stroke-dasharray='${(part * around).toFixed(1)} ${around.toFixed(1)}' transform='rotate(-90 8 8)'`)}</svg>`;
  const icon = /** @type {HTMLLinkElement | null} */ (document.querySelector("link[rel=icon]"));
  if (icon) icon.href = `data:image/svg+xml,${encodeURIComponent(drawn)}`;
}
