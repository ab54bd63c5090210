/** How a viewer has arranged a run's charts: which groups are folded, in which order charts stand; kept by this browser. */

const KEPT = "runyard-charts";

/** @returns {{folded: string[], order: Record<string, string[]>}} */
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    return { folded: found.folded ?? [], order: found.order ?? {} };
  } catch {
    // A browser that keeps nothing shows what everybody sees at first.
    return { folded: [], order: {} };
  }
}

/** @param {ReturnType<typeof kept>} layout */
function keep(layout) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(layout));
  } catch {
    return;
  }
}

const chartsOf = (/** @type {Element} */ group) => /** @type {HTMLElement[]} */ ([...group.querySelectorAll("figure.chart")]);
const nameOf = (/** @type {Element} */ group) => /** @type {HTMLElement} */ (group).dataset.group ?? "";

/**
 * Arrange the groups within as they were left, and remember what is done to them from now on.
 * @param {HTMLElement} area
 */
export function arrange(area) {
  for (const group of area.querySelectorAll("details.chart-group")) place(group);
  area.addEventListener(
    "toggle",
    (event) => {
      const group = /** @type {HTMLDetailsElement} */ (event.target);
      if (!group.classList.contains("chart-group")) return;
      const layout = kept();
      layout.folded = layout.folded.filter((name) => name !== nameOf(group));
      if (!group.open) layout.folded.push(nameOf(group));
      keep(layout);
    },
    true,
  );
  area.addEventListener("chart-move", (event) => step(/** @type {HTMLElement} */ (event.target), /** @type {CustomEvent} */ (event).detail));
  area.addEventListener("keydown", (event) => {
    const handle = /** @type {HTMLElement} */ (event.target);
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const box = /** @type {HTMLElement | null} */ (handle.closest("figure.chart"));
    if (!by || !box || !handle.matches(".chart-handle")) return;
    event.preventDefault();
    step(box, by);
    handle.focus();
  });
  drag(area);
}

/** Put a group and its charts where they were left. */
export function place(/** @type {Element} */ group) {
  const { folded, order } = kept();
  /** @type {HTMLDetailsElement} */ (group).open = !folded.includes(nameOf(group));
  const places = order[nameOf(group)];
  const holder = group.querySelector(".charts");
  for (const box of chartsOf(group)) addHandle(box);
  if (!places || !holder) return;
  const placeOf = (/** @type {HTMLElement} */ box) => (places.includes(box.dataset.chart ?? "") ? places.indexOf(box.dataset.chart ?? "") : places.length);
  const now = chartsOf(group);
  const wanted = [...now].sort((one, other) => placeOf(one) - placeOf(other));
  if (wanted.some((box, i) => box !== now[i])) holder.append(...wanted);
}

function addHandle(/** @type {HTMLElement} */ box) {
  if (box.querySelector(".chart-handle")) return;
  const handle = document.createElement("button");
  handle.type = "button";
  handle.className = "chart-handle";
  handle.textContent = "⠿";
  const title = box.querySelector("h2")?.textContent ?? "";
  handle.setAttribute("aria-label", `move ${title}: drag it, or use the arrow keys`);
  box.querySelector("figcaption")?.prepend(handle);
}

function remember(/** @type {Element} */ group) {
  const layout = kept();
  layout.order[nameOf(group)] = chartsOf(group).map((box) => box.dataset.chart ?? "");
  keep(layout);
}

/**
 * @param {HTMLElement} box
 * @param {number} by
 */
function step(box, by) {
  const group = box.closest("details.chart-group");
  if (!group) return;
  const all = chartsOf(group).filter((each) => !each.hidden);
  const other = all[all.indexOf(box) + by];
  if (!other) return;
  if (by < 0) other.before(box);
  else other.after(box);
  remember(group);
}

/** Drag a chart by its handle, by mouse, pen or finger, to another place in its group. */
function drag(/** @type {HTMLElement} */ area) {
  /** @type {HTMLElement | null} */
  let moved = null;
  area.addEventListener("pointerdown", (event) => {
    const handle = /** @type {HTMLElement} */ (event.target).closest?.(".chart-handle");
    if (!handle || event.button !== 0) return;
    moved = handle.closest("figure.chart");
    moved?.classList.add("moved");
    handle.setPointerCapture(event.pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (!moved) return;
    const below = document.elementFromPoint(event.clientX, event.clientY)?.closest("figure.chart");
    if (!below || below === moved || below.parentElement !== moved.parentElement) return;
    const box = below.getBoundingClientRect();
    const ahead = chartsOf(/** @type {Element} */ (moved.parentElement));
    // Only past the middle, so that two of different size do not change places for ever.
    const later = ahead.indexOf(moved) < ahead.indexOf(/** @type {HTMLElement} */ (below));
    const past = box.height > 0 && (event.clientX - box.left) / box.width + (event.clientY - box.top) / box.height;
    if (later && past > 0.7) below.after(moved);
    else if (!later && past < 1.3) below.before(moved);
  });
  const end = () => {
    if (!moved) return;
    moved.classList.remove("moved");
    const group = moved.closest("details.chart-group");
    moved = null;
    if (group) remember(group);
  };
  area.addEventListener("pointerup", end);
  area.addEventListener("pointercancel", end);
}

/**
 * Show only the charts whose title or curves have these words.
 * @param {HTMLElement} area
 * @param {HTMLInputElement | null} field
 */
export function filterable(area, field) {
  const none = /** @type {HTMLElement | null} */ (area.querySelector("#charts-none"));
  function show() {
    const words = (field?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let any = false;
    for (const group of area.querySelectorAll("details.chart-group")) {
      let some = false;
      for (const box of chartsOf(group)) {
        const said = `${nameOf(group)} ${box.dataset.chart} ${box.querySelector("figcaption")?.textContent}`.toLowerCase();
        box.hidden = !words.every((word) => said.includes(word));
        some ||= !box.hidden;
      }
      /** @type {HTMLElement} */ (group).hidden = !some;
      any ||= some;
    }
    if (none) none.hidden = any;
  }
  field?.addEventListener("input", show);
  if (field?.value) show();
}
