/** Desktop notifications, if the user of this browser has turned them on at /notifications. */

import { query } from "./dom.js";
import { throttle } from "./timers.js";

const ENABLED_KEY = "runyard-desktop";
/** The id of the newest notice that any tab has shown. */
const LAST_SHOWN_KEY = "runyard-heard";
const POLL_MILLISECONDS = 15_000;
const THROTTLE_MILLISECONDS = 1500;
const MAX_NOTICES = 20;

/** @typedef {{id: number, sentence: string, run: string | null}} Notice */

const isEnabled = () =>
  localStorage.getItem(ENABLED_KEY) === "1" && "Notification" in window && Notification.permission === "granted";

/** Show notices that are newer than the last one shown. Only the tab that gets the lock does it. */
async function showNewNotices() {
  if (!isEnabled()) return;
  await navigator.locks.request("runyard-notices", { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    const after = localStorage.getItem(LAST_SHOWN_KEY);
    const limit = after === null ? 1 : MAX_NOTICES;
    const response = await fetch(`/api/v1/notices?after=${after ?? 0}&limit=${limit}`);
    if (!response.ok) return;
    /** @type {Notice[]} */
    const notices = (await response.json()).notices;
    if (notices.length) localStorage.setItem(LAST_SHOWN_KEY, String(notices[0].id));
    else if (after === null) localStorage.setItem(LAST_SHOWN_KEY, "0");
    // Notices from before notifications were turned on are not shown.
    if (after === null) return;
    for (const notice of notices.reverse()) show(notice);
  });
}

/** @param {Notice} notice */
function show({ id, run, sentence }) {
  const shown = new Notification("Runyard", { body: sentence, tag: `runyard-${id}`, icon: "/static/icon.svg" });
  shown.onclick = () => {
    window.focus();
    if (run) location.assign(`/runs/${run}`);
  };
}

document.body.addEventListener("yard-changed", throttle(THROTTLE_MILLISECONDS, showNewNotices));
// Pages without a stream, and the page of a run, receive no events of other runs.
setInterval(showNewNotices, POLL_MILLISECONDS);
showNewNotices();

// The switch on /notifications -----------------------------------------------------------------------------------------

const box = query(document, "[data-desktop]", HTMLInputElement);
const state = document.querySelector("[data-desktop-state]");

function showSwitch() {
  if (!box || !state) return;
  // The server renders it disabled, for browsers without scripts.
  box.disabled = false;
  box.checked = isEnabled();
  if (!("Notification" in window)) {
    box.disabled = true;
    state.textContent = "Not supported by this browser";
  } else if (Notification.permission === "denied") {
    box.disabled = true;
    state.textContent = "Blocked. Allow notifications for this site in your browser settings.";
  } else state.textContent = box.checked ? "On while a Runyard tab is open" : "Works while a Runyard tab is open";
}

box?.addEventListener("change", async () => {
  if (box.checked && (await Notification.requestPermission()) === "granted") localStorage.setItem(ENABLED_KEY, "1");
  else localStorage.removeItem(ENABLED_KEY);
  localStorage.removeItem(LAST_SHOWN_KEY);
  showSwitch();
  await showNewNotices();
});
showSwitch();
