/** The page of a run's files: the slider over images by step, and arrow keys in the tree. */

import { byId, embeddedJson, queryAll } from "./dom.js";

/** Images of at most this many pixels are enlarged, so that they can be seen. */
const TINY = 128;

for (const image of queryAll(document, "[data-shown]", HTMLImageElement)) {
  const enlarge = () => image.classList.toggle("tiny", image.naturalWidth > 0 && image.naturalWidth <= TINY);
  image.addEventListener("load", enlarge);
  if (image.complete) enlarge();
}

// Images by step ------------------------------------------------------------------------------------------------------

/** Step, time in milliseconds, address to show and address to save of each image. @type {[string, number, string, string][]} */
const frames = embeddedJson("frames", []);
if (frames.length > 0) strip();

function strip() {
  const slider = byId("step", HTMLInputElement);
  const image = byId("frame", HTMLImageElement);
  const key = byId("preview-title", HTMLElement).textContent ?? "";

  function show(/** @type {number} */ number) {
    const frame = frames[number];
    if (!frame) return;
    const [step, , address, download] = frame;
    slider.value = String(number);
    slider.setAttribute("aria-valuetext", `step ${step}`);
    byId("step-shown", HTMLOutputElement).value = `step ${step}`;
    image.src = address;
    image.alt = `${key} at step ${step}`;
    byId("download", HTMLAnchorElement).href = download;
    for (const link of queryAll(document, "#thumbnails a", HTMLAnchorElement)) {
      if (link.dataset.number !== String(number)) link.removeAttribute("aria-current");
      else {
        link.setAttribute("aria-current", "true");
        center(link);
      }
    }
    const url = new URL(location.href);
    url.searchParams.set("images", key);
    url.searchParams.set("at", String(number));
    history.replaceState(history.state, "", url);
  }

  slider.addEventListener("input", () => show(Number(slider.value)));
  byId("thumbnails", HTMLElement).addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || !(event.target instanceof Element)) return;
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    show(Number(link.dataset.number));
  });
  const chosen = document.querySelector("#thumbnails [aria-current]");
  if (chosen instanceof HTMLElement) center(chosen);
}

/** Scroll the row of small images, and nothing else, so that this one is in its middle. */
function center(/** @type {HTMLElement} */ link) {
  const row = byId("thumbnails", HTMLElement);
  const [inner, outer] = [link.getBoundingClientRect(), row.getBoundingClientRect()];
  row.scrollLeft += inner.left + inner.width / 2 - outer.left - outer.width / 2;
}

// Keys in the tree ----------------------------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  const focused = document.activeElement;
  if (!(focused instanceof HTMLElement) || !focused.closest("#tree .bd")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = queryAll(document, "#tree .bd :is(a, summary)", HTMLElement).filter((row) => row.checkVisibility());
  const place = rows.indexOf(focused);
  const folder = focused.closest("summary")?.parentElement;
  if (event.key === "ArrowDown") rows[place + 1]?.focus();
  else if (event.key === "ArrowUp") rows[place - 1]?.focus();
  else if (folder instanceof HTMLDetailsElement && event.key === "ArrowRight") folder.open = true;
  else if (folder instanceof HTMLDetailsElement && event.key === "ArrowLeft") folder.open = false;
  else return;
  event.preventDefault();
});
