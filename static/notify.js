/** Desktop notifications of what happens, where this browser's user has asked for them on /notifications. */

import { throttled } from "./live.js";

const WANTED = "runyard-desktop";
const HEARD = "runyard-heard";
const EVERY_MILLISECONDS = 15_000;

const wanted = () => localStorage.getItem(WANTED) === "1" && "Notification" in window && Notification.permission === "granted";

/** One tab tells of a notice: whoever gets the lock looks what is newer than what any tab has told. */
async function look() {
  if (!wanted()) return;
  await navigator.locks.request("runyard-notices", { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    const after = localStorage.getItem(HEARD);
    const answer = await fetch(`/api/v1/notices?after=${after ?? 0}&limit=${after === null ? 1 : 20}`);
    if (!answer.ok) return;
    /** @type {{id: number, sentence: string, run: string | null}[]} */
    const found = (await answer.json()).notices;
    if (found.length) localStorage.setItem(HEARD, String(found[0].id));
    else if (after === null) localStorage.setItem(HEARD, "0");
    // What happened before this browser was asked to tell is no news.
    if (after === null) return;
    for (const notice of found.reverse()) {
      const shown = new Notification("Runyard", { body: notice.sentence, tag: `runyard-${notice.id}`, icon: "/static/icon.svg" });
      shown.onclick = () => {
        window.focus();
        if (notice.run) location.assign(`/runs/${notice.run}`);
      };
    }
  });
}

const soon = throttled(1500, look);
document.body.addEventListener("yard-changed", soon);
// A page without a stream, or a run's own, hears of no other run.
setInterval(look, EVERY_MILLISECONDS);
look();

// The switch on /notifications -----------------------------------------------------------------------------------------

const box = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-desktop]"));
const state = document.querySelector("[data-desktop-state]");

function show() {
  if (!box || !state) return;
  // It is disabled until somebody listens to it.
  box.disabled = false;
  box.checked = wanted();
  if (!("Notification" in window)) {
    box.disabled = true;
    state.textContent = "this browser has none";
  } else if (Notification.permission === "denied") {
    box.disabled = true;
    state.textContent = "blocked in this browser's settings for this address; allow it there first";
  } else state.textContent = box.checked ? "on, while a tab of Runyard is open in it" : "while a tab of Runyard is open in it";
}

box?.addEventListener("change", async () => {
  if (box.checked && (await Notification.requestPermission()) === "granted") localStorage.setItem(WANTED, "1");
  else localStorage.removeItem(WANTED);
  localStorage.removeItem(HEARD);
  show();
  await look();
});
show();
