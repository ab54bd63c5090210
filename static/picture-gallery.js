/** A gallery of thousands of images: only those in sight are in the document, and a hundred come in one picture. */

import { byId, closest, embeddedJson, query } from "./dom.js";
import { columnsIn, GAP, inSight, moved, SHEET, spritePosition, stretches } from "./gallery-layout.js";
import { isTyping } from "./page.js";

/**
 * @typedef {{ right: string, predicted: number[], confidence: number[], state: string, forgotten: number }} History
 * @typedef {{ index: number, true: number, predicted: number, confidence: number, true_probability: number | null,
 *   top: [number, number][], others: number[], history: History | null, file: string }} Picture
 * @typedef {{ sheet: string, pictures: Picture[] }} Sheet
 * @typedef {{ names: string[], total: number, epochs: number[], others: string[], number: number, source: string,
 *   image: string, states: Record<string, string>, playground: string, first: Sheet }} Gallery
 */

const TILE = 116;
const ROW = 156;
const OTHERS = 16;
/** Sheets that are kept: what is scrolled past is quickly there again from the browser's cache. */
const KEPT = 60;

const filters = byId("filters", HTMLFormElement);
filters.addEventListener("change", () => {
  for (const field of filters.elements) {
    if ((field instanceof HTMLSelectElement || field instanceof HTMLInputElement) && !field.value)
      field.disabled = true;
  }
  filters.requestSubmit();
});

/** @type {Gallery | null} */
const embedded = embeddedJson("gallery-data", null);
if (embedded) start(embedded);

function percent(/** @type {number} */ share, digits = 0) {
  return `${(100 * share).toFixed(digits)}%`;
}

/** A strip of epochs: right ones in green, wrong ones in red, as a background. */
function strip(/** @type {History} */ history) {
  const element = document.createElement("span");
  element.className = "strip";
  element.title = "The epochs from left to right: green after which it was right, red after which it was wrong";
  const parts = stretches(history.right).map(
    ([from, to, right]) =>
      `var(--${right ? "succeeded" : "failed"}) ${(100 * from).toFixed(2)}% ${(100 * to).toFixed(2)}%`,
  );
  element.style.background = `linear-gradient(to right, ${parts.join(", ")})`;
  return element;
}

/** What the colors of the strip are. */
function legend(/** @type {number[]} */ epochs) {
  const line = document.createElement("p");
  line.className = "soft legend";
  for (const [name, kind] of [
    ["right", "right"],
    ["wrong", ""],
  ]) {
    const swatch = document.createElement("span");
    swatch.className = `swatch ${kind}`;
    line.append(swatch, ` ${name} `);
  }
  line.append(`· epochs ${epochs[0]} to ${epochs[epochs.length - 1]} from left to right`);
  return line;
}

function turned(/** @type {number} */ times) {
  if (!times) return "";
  return `; turned from right to wrong ${times === 1 ? "once" : `${times} times`}`;
}

function start(/** @type {Gallery} */ data) {
  const { names, total } = data;
  const gallery = byId("gallery", HTMLElement);
  const dialog = byId("picture", HTMLDialogElement);
  const row = ROW + (data.others.length ? OTHERS : 0);
  /** @type {Map<number, Sheet | "loading">} */
  const sheets = new Map([[0, data.first]]);
  /** @type {Map<number, HTMLElement>} */
  const drawn = new Map();
  let columns = 1;
  let at = 0;

  gallery.textContent = "";
  gallery.classList.add("virtual");
  gallery.classList.toggle("with-others", data.others.length > 0);

  function othersOf(/** @type {Picture} */ picture) {
    return picture.others.map((label, i) => `${data.others[i]}: ${names[label]}`).join(" ");
  }

  function about(/** @type {Picture} */ picture) {
    const result = picture.true === picture.predicted ? "right" : "wrong";
    const parts = [`true ${names[picture.true]}`, `as ${names[picture.predicted]} · ${percent(picture.confidence)}`];
    if (picture.others.length) parts.push(othersOf(picture));
    return `${parts.join(" ")}, ${result}${picture.history ? `, ${picture.history.state}` : ""}`;
  }

  async function load(/** @type {number} */ number) {
    if (sheets.has(number)) return;
    sheets.set(number, "loading");
    const response = await fetch(`${data.source}&offset=${number * SHEET}&limit=${SHEET}`).catch(() => null);
    if (!response?.ok) {
      sheets.delete(number);
      return;
    }
    sheets.set(number, await response.json());
    for (const old of sheets.keys()) {
      if (sheets.size <= KEPT) break;
      if (Math.abs(old - number) > KEPT / 2) sheets.delete(old);
    }
    for (const [place, element] of drawn) if (Math.floor(place / SHEET) === number) fill(element, place);
    if (dialog.open && Math.floor(at / SHEET) === number) show();
  }

  function find(/** @type {number} */ place) {
    const sheet = sheets.get(Math.floor(place / SHEET));
    return sheet && sheet !== "loading" ? { sheet, picture: sheet.pictures[place % SHEET] } : null;
  }

  function fill(/** @type {HTMLElement} */ element, /** @type {number} */ place) {
    const found = find(place);
    if (!found) {
      load(Math.floor(place / SHEET));
      return;
    }
    const { sheet, picture } = found;
    element.textContent = "";
    element.classList.toggle("right", picture.true === picture.predicted);
    // Its name is what is seen, so that one can speak it.
    element.removeAttribute("aria-label");
    const tile = document.createElement("div");
    tile.className = "tile";
    const sprite = spritePosition(place % SHEET, sheet.pictures.length);
    if (sheet.sheet) {
      tile.style.backgroundImage = `url("${sheet.sheet}")`;
      tile.style.backgroundPosition = `${sprite.x}% ${sprite.y}%`;
      tile.style.backgroundSize = `${sprite.width}% ${sprite.height}%`;
    }
    const caption = document.createElement("div");
    caption.className = "caption";
    const truth = document.createElement("span");
    truth.textContent = `true ${names[picture.true]}`;
    const answer = document.createElement("b");
    answer.textContent = `as ${names[picture.predicted]} · ${percent(picture.confidence)}`;
    const result = document.createElement("span");
    result.className = "hidden-text";
    result.textContent = picture.true === picture.predicted ? "right" : "wrong";
    caption.append(truth, " ", answer, " ", result);
    if (picture.others.length) {
      const others = document.createElement("span");
      others.className = "soft";
      others.textContent = othersOf(picture);
      caption.append(" ", others);
    }
    if (picture.history) caption.append(strip(picture.history));
    element.append(tile, caption);
  }

  function draw() {
    columns = columnsIn(gallery.clientWidth, TILE);
    gallery.style.height = `${Math.ceil(total / columns) * (row + GAP) - GAP}px`;
    const top = -gallery.getBoundingClientRect().top;
    const [first, last] = inSight(top, window.innerHeight, row, columns, total, 500);
    for (const [place, element] of drawn) {
      if (place < first || place >= last) {
        element.remove();
        drawn.delete(place);
      }
    }
    for (let place = first; place < last; place++) {
      let element = drawn.get(place);
      if (!element) {
        element = document.createElement("div");
        element.className = "picture";
        element.id = `place-${place}`;
        element.setAttribute("role", "option");
        element.setAttribute("aria-posinset", String(place + 1));
        element.setAttribute("aria-setsize", String(total));
        element.setAttribute("aria-label", `image ${place + 1}`);
        element.dataset.place = String(place);
        drawn.set(place, element);
        gallery.append(element);
        fill(element, place);
      }
      const left = (place % columns) * (TILE + GAP);
      element.style.transform = `translate(${left}px, ${Math.floor(place / columns) * (row + GAP)}px)`;
      element.setAttribute("aria-selected", String(place === at));
    }
    if (drawn.has(at)) gallery.setAttribute("aria-activedescendant", `place-${at}`);
  }

  function go(/** @type {number} */ place) {
    at = place;
    const y = Math.floor(place / columns) * (row + GAP);
    const top = gallery.getBoundingClientRect().top + y;
    if (top < 0) window.scrollBy(0, top - GAP);
    else if (top + row > window.innerHeight) window.scrollBy(0, top + row + GAP - window.innerHeight);
    draw();
    if (dialog.open) show();
  }

  // Large view --------------------------------------------------------------------------------------------------------

  function fact(/** @type {string} */ name, /** @type {string} */ value) {
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = name;
    description.textContent = value;
    return [term, description];
  }

  /** What was predicted after each epoch, and how sure. */
  function epochs(/** @type {History} */ { predicted, confidence, right }) {
    const list = document.createElement("ol");
    list.className = "epochs";
    list.tabIndex = 0;
    list.setAttribute("aria-label", "Predictions by epoch");
    list.append(
      ...predicted.map((label, i) => {
        const line = document.createElement("li");
        line.className = right[i] === "1" ? "right" : "";
        line.textContent = `epoch ${data.epochs[i]}: ${names[label]} · ${percent(confidence[i])}`;
        return line;
      }),
    );
    return list;
  }

  function show() {
    const found = find(at);
    if (!found) {
      load(Math.floor(at / SHEET));
      return;
    }
    const { picture } = found;
    history.replaceState(history.state, "", `#${at + 1}`);
    byId("picture-title", HTMLElement).textContent = `Image ${at + 1} of ${total.toLocaleString("en-US")}`;
    const image = byId("picture-image", HTMLImageElement);
    image.src = `${data.image}&index=${picture.index}`;
    image.alt = about(picture);
    const facts = byId("picture-facts", HTMLElement);
    facts.replaceChildren(
      ...fact("true", names[picture.true]),
      ...fact("predicted", names[picture.predicted]),
      ...fact("confidence", percent(picture.confidence, 1)),
      ...(picture.true_probability === null
        ? []
        : fact("probability of the true class", percent(picture.true_probability, 1))),
      ...picture.others.flatMap((label, i) => fact(`run ${data.others[i]} predicts`, names[label])),
      ...fact("index in the split", String(picture.index)),
      ...(picture.file ? fact("file", picture.file) : []),
    );
    const attempt = query(document, "#picture-try", HTMLAnchorElement);
    if (attempt) attempt.href = `${data.playground}${picture.index}`;
    byId("picture-top", HTMLElement).replaceChildren(
      ...picture.top.map(([label, probability]) => {
        const line = document.createElement("li");
        const name = document.createElement("span");
        const value = document.createElement("span");
        const bar = document.createElement("progress");
        name.textContent = names[label];
        value.textContent = percent(probability, 1);
        bar.max = 1;
        bar.value = probability;
        bar.setAttribute("aria-label", names[label]);
        line.append(name, value, bar);
        return line;
      }),
    );
    const past = byId("picture-history", HTMLElement);
    past.textContent = "";
    if (picture.history) {
      const { state, forgotten } = picture.history;
      const text = document.createElement("p");
      text.textContent = `Over the epochs: ${data.states[state]}${turned(forgotten)}.`;
      past.append(text, strip(picture.history), legend(data.epochs), epochs(picture.history));
    }
  }

  function open() {
    if (!dialog.open) dialog.showModal();
    show();
  }

  dialog.addEventListener("close", () => {
    history.replaceState(history.state, "", location.pathname + location.search);
    gallery.focus({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => {
    const move = closest(event.target, "[data-move]", HTMLElement);
    if (move) go(Math.min(total - 1, Math.max(0, at + Number(move.dataset.move))));
    if (event.target === dialog || closest(event.target, "[data-close]", HTMLElement)) dialog.close();
  });
  for (const target of [gallery, dialog]) {
    target.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const next = moved(event.key, at, dialog.open && event.key.startsWith("Arrow") ? 1 : columns, total);
      if (next !== null) {
        event.preventDefault();
        event.stopPropagation();
        go(next);
      } else if (event.key === "Enter" && target === gallery) {
        event.preventDefault();
        open();
      }
    });
  }
  // Without the focus anywhere, the keys are the gallery's too; those that scroll are left to the page.
  document.addEventListener("keydown", (event) => {
    if (event.target !== document.body || isTyping(event) || query(document, "dialog[open]", HTMLElement)) return;
    if (!["j", "k", "Enter"].includes(event.key)) return;
    event.preventDefault();
    gallery.focus({ preventScroll: true });
    if (event.key === "Enter") open();
    else go(moved(event.key, at, columns, total) ?? at);
  });
  gallery.addEventListener("click", (event) => {
    const element = closest(event.target, "[data-place]", HTMLElement);
    if (!element) return;
    go(Number(element.dataset.place));
    open();
  });

  let waiting = false;
  function later() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }
  window.addEventListener("scroll", later, { passive: true });
  window.addEventListener("resize", later);
  draw();
  const linked = Number(location.hash.slice(1));
  if (Number.isInteger(linked) && linked >= 1 && linked <= total) {
    go(linked - 1);
    open();
  }
}
