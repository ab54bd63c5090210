/** The playground: sends the picture to the chosen checkpoints whenever it, or they, change, and shows their votes. */

import { byId, query, queryAll } from "./dom.js";
import { Drawing } from "./drawing.js";
import { debounce, throttle } from "./timers.js";

const LOOK_MILLISECONDS = 60;
const NEWEST_MILLISECONDS = 1000;
const LARGEST_BYTES = 16 * 2 ** 20;
const TOO_LARGE = "An image can have at most 16 MiB.";

const form = document.getElementById("playground");
if (form instanceof HTMLFormElement) start(form);

/** @param {HTMLFormElement} form */
function start(form) {
  const votes = byId("votes", HTMLElement);
  const picture = byId("picture", HTMLInputElement);
  const near = byId("verdict-near", HTMLElement);
  const drawing = new Drawing(byId("canvas", HTMLCanvasElement), () => {
    opened = "";
    picture.value = "";
    lookSoon();
    keepAddress();
  });
  /** The address of the file that was opened, as it is. */
  let opened = "";
  let looking = false;
  let again = false;
  /** Counts what ends a look before its answer: that is of an image that is gone. */
  let turn = 0;
  /** The checkpoints that have voted, as the server names them. */
  let voted = "";

  const lookSoon = throttle(LOOK_MILLISECONDS, () => void look());
  const keepAddress = debounce(300, () => history.replaceState(null, "", `?${address()}`));

  /** The chosen runs and settings, without what is as it is at first. */
  function address() {
    const values = new URLSearchParams();
    const chosen = tokens();
    if (chosen.length) values.set("runs", chosen.join(","));
    for (const name of ["checkpoint", "picture", "sweep", "center", "why"]) {
      const value = fieldOf(name);
      if (value && !(name === "checkpoint" && value === "best")) values.set(name, value);
    }
    for (const slider of sliders()) if (slider.value !== neutral(slider)) values.set(slider.name, slider.value);
    return values.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
  }

  const fieldOf = (/** @type {string} */ name) => String(new FormData(form).get(name) ?? "");
  const tokens = () =>
    queryAll(form, "input[name=runs]", HTMLInputElement).flatMap((box) => (box.checked ? [box.value] : []));
  const sliders = () => queryAll(form, "input[data-neutral]", HTMLInputElement);
  const neutral = (/** @type {HTMLInputElement} */ slider) => String(Number(slider.dataset.neutral));

  async function look() {
    if (looking) {
      again = true;
      return;
    }
    if (!picture.value && !opened && drawing.empty) return;
    looking = true;
    const mine = turn;
    votes.setAttribute("aria-busy", "true");
    try {
      const sent = picture.value ? { picture: picture.value } : { content: opened || drawing.toPng() };
      const changes = Object.fromEntries(sliders().map((slider) => [slider.name, Number(slider.value)]));
      const body = {
        ...sent,
        changes,
        runs: tokens(),
        checkpoint: fieldOf("checkpoint"),
        center: fieldOf("center") === "off" ? "off" : drawing.drawn ? "on" : "auto",
        sweep: fieldOf("sweep"),
        why: fieldOf("why") === "1",
      };
      const response = await fetch("/playground/look", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const answer = response.ok ? await response.text() : "";
      if (mine !== turn) return;
      if (response.ok) {
        votes.innerHTML = answer;
        setOpacity();
        near.textContent = query(votes, "#verdict, [role=alert]", HTMLElement)?.textContent ?? "";
      } else if (response.status === 413) {
        refuse(TOO_LARGE);
      } else {
        refuse(`The server answered with status ${response.status}.`);
      }
    } catch {
      if (mine === turn) refuse("The server does not respond.");
    } finally {
      looking = false;
      votes.setAttribute("aria-busy", "false");
      if (again) {
        again = false;
        lookSoon();
      }
    }
  }

  /** Show a sentence in place of the votes, as the server does for an image that it cannot read. */
  function refuse(/** @type {string} */ sentence) {
    const alert = document.createElement("p");
    alert.className = "error";
    alert.setAttribute("role", "alert");
    alert.textContent = sentence;
    votes.replaceChildren(alert);
    near.textContent = sentence;
  }

  /** Leave no image and no vote. */
  function forget() {
    turn++;
    opened = "";
    picture.value = "";
    drawing.clear();
    votes.replaceChildren();
    near.textContent = "";
    keepAddress();
  }

  // Pictures ----------------------------------------------------------------------------------------------------------

  async function open(/** @type {Blob | null | undefined} */ file) {
    if (!file) return;
    if (file.size > LARGEST_BYTES) {
      forget();
      refuse(TOO_LARGE);
      return;
    }
    opened = await addressOf(file);
    picture.value = "";
    drawing.clear();
    drawing.empty = false;
    try {
      const image = await createImageBitmap(file);
      drawing.show(image, image.width, image.height);
    } catch {
      // The server says what is wrong with it, or can read what this browser cannot.
    }
    lookSoon();
    keepAddress();
  }

  function pick(/** @type {number} */ step) {
    const index = byId("index", HTMLInputElement);
    const at = Math.max(0, Math.round(Number(index.value) || 0) + step);
    index.value = String(at);
    const datasets = byId("dataset", HTMLSelectElement);
    const dataset = datasets.value;
    const part = byId("part", HTMLSelectElement).value;
    picture.value = `${dataset}:${part}:${at}`;
    opened = "";
    // The server says how many images there are; of one that is not there, none is shown.
    if (at < Number(datasets.selectedOptions[0]?.dataset[part])) showPicked(dataset, part, at);
    else drawing.clear();
    lookSoon();
    keepAddress();
  }

  function showPicked(/** @type {string} */ key, /** @type {string} */ part, /** @type {number} */ at) {
    const [name = "", version = ""] = key.split("@");
    const image = new Image();
    image.onload = () => {
      if (picture.value === `${key}:${part}:${at}`) drawing.show(image, image.naturalWidth, image.naturalHeight);
    };
    const which = new URLSearchParams({ part, index: String(at), ...(version ? { version } : {}) });
    image.src = `/datasets/${encodeURIComponent(name)}/image.png?${which}`;
  }

  // Events ------------------------------------------------------------------------------------------------------------

  function setOpacity() {
    const { value } = byId("opacity", HTMLInputElement);
    for (const map of queryAll(votes, ".why", HTMLImageElement)) map.style.opacity = value;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (!(target instanceof HTMLInputElement || target instanceof HTMLSelectElement)) return;
    if (target.id === "opacity") setOpacity();
    else if (["dataset", "part", "index"].includes(target.id)) pick(0);
    else if (target.id !== "file") {
      if (target instanceof HTMLInputElement && target.dataset.neutral !== undefined) showValue(target);
      lookSoon();
      keepAddress();
    }
  });
  byId("pick", HTMLElement).addEventListener("click", () => pick(0));
  byId("next", HTMLElement).addEventListener("click", () => pick(1));
  byId("clear", HTMLElement).addEventListener("click", () => {
    forget();
  });
  byId("reset", HTMLElement).addEventListener("click", () => {
    for (const slider of sliders()) {
      slider.value = neutral(slider);
      showValue(slider);
    }
    lookSoon();
    keepAddress();
  });
  byId("file", HTMLInputElement).addEventListener("change", ({ target }) => {
    if (target instanceof HTMLInputElement) void open(target.files?.[0]);
  });
  document.addEventListener("paste", (event) => void open(event.clipboardData?.files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    void open(event.dataTransfer?.files[0]);
  });

  // A run that trains saves new checkpoints: then all vote again.
  document.body.addEventListener(
    "yard-changed",
    throttle(NEWEST_MILLISECONDS, async () => {
      if (!tokens().length) return;
      const chosen = new URLSearchParams({ runs: tokens().join(","), checkpoint: fieldOf("checkpoint") });
      const response = await fetch(`/playground/newest?${chosen}`).catch(() => null);
      if (!response?.ok) return;
      const now = await response.text();
      if (voted && now !== voted) lookSoon();
      voted = now;
    }),
  );

  if (picture.dataset.initial !== undefined && picture.value) pick(0);
}

function showValue(/** @type {HTMLInputElement} */ slider) {
  const output = slider.nextElementSibling;
  if (output instanceof HTMLOutputElement) output.value = `${Number(slider.value)}${slider.dataset.unit ?? ""}`;
}

/** @returns {Promise<string>} the file as a data URL */
function addressOf(/** @type {Blob} */ file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
