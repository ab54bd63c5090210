/** How a viewer has arranged a run's charts: which groups are folded, in which order they and their charts stand; kept by this browser. */

const KEPT = "runyard-charts";

/** @returns {{folded: string[], order: Record<string, string[]>, groups: string[]}} */
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    return { folded: found.folded ?? [], order: found.order ?? {}, groups: found.groups ?? [] };
  } catch {
    // A browser that keeps nothing shows what everybody sees at first.
    return { folded: [], order: {}, groups: [] };
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
const groupsOf = (/** @type {Element} */ area) => /** @type {HTMLElement[]} */ ([...area.querySelectorAll("details.chart-group")]);
const nameOf = (/** @type {Element} */ group) => /** @type {HTMLElement} */ (group).dataset.group ?? "";
/** What a handle moves: its chart, or its group. */
const movedBy = (/** @type {Element} */ handle) => /** @type {HTMLElement | null} */ (handle.closest("figure.chart, details.chart-group"));
/** What may change places with it. */
const rowOf = (/** @type {HTMLElement} */ moved) => (moved.matches("figure") ? chartsOf(/** @type {Element} */ (moved.parentElement)) : groupsOf(/** @type {Element} */ (moved.parentElement)));

/**
 * Arrange the groups within as they were left, and remember what is done to them from now on.
 * @param {HTMLElement} area
 */
export function arrange(area) {
  for (const group of groupsOf(area)) place(group);
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
    const moved = handle.matches(".chart-handle") ? movedBy(handle) : null;
    if (!by || !moved) return;
    event.preventDefault();
    step(moved, by);
    handle.focus();
  });
  drag(area);
}

/** Put a group and its charts where they were left. */
export function place(/** @type {Element} */ group) {
  const { folded, order, groups } = kept();
  /** @type {HTMLDetailsElement} */ (group).open = !folded.includes(nameOf(group));
  const places = order[nameOf(group)];
  const holder = group.querySelector(".charts");
  // Beside the summary: what is within it is no button of its own for those who hear the page.
  if (holder) addHandle(holder, `the charts of ${group.querySelector("h2")?.textContent}`);
  for (const box of chartsOf(group)) {
    const caption = box.querySelector("figcaption > :first-child");
    if (caption) addHandle(caption, box.querySelector("h2")?.textContent ?? "");
  }
  if (places && holder) sort(chartsOf(group), (box) => places.indexOf(box.dataset.chart ?? ""));
  const area = group.parentElement;
  if (groups.length && area) sort(groupsOf(area), (each) => groups.indexOf(nameOf(each)));
}

/**
 * Put siblings in order; those without a place (-1) follow the others, as they stood.
 * @param {HTMLElement[]} now
 * @param {(each: HTMLElement) => number} placeOf
 */
function sort(now, placeOf) {
  const rank = new Map(now.map((each) => [each, placeOf(each) >= 0 ? placeOf(each) : now.length]));
  const wanted = [...now].sort((one, other) => (rank.get(one) ?? 0) - (rank.get(other) ?? 0));
  if (wanted.every((each, i) => each === now[i])) return;
  const after = now[now.length - 1].nextSibling;
  for (const each of wanted) each.parentElement?.insertBefore(each, after);
}

/**
 * @param {Element} before
 * @param {string} name
 */
function addHandle(before, name) {
  if (before.parentElement?.querySelector(":scope > .chart-handle")) return;
  const handle = document.createElement("button");
  handle.type = "button";
  handle.className = "chart-handle";
  handle.textContent = "⠿";
  handle.setAttribute("aria-label", `move ${name}: drag it, or use the arrow keys`);
  before.before(handle);
}

/** Keep the order in which charts, or groups, now stand. */
function remember(/** @type {HTMLElement} */ moved) {
  const layout = kept();
  const group = moved.parentElement?.closest("details.chart-group");
  if (group) layout.order[nameOf(group)] = chartsOf(group).map((box) => box.dataset.chart ?? "");
  else layout.groups = rowOf(moved).map(nameOf);
  keep(layout);
}

/**
 * @param {HTMLElement} moved
 * @param {number} by
 */
function step(moved, by) {
  const all = rowOf(moved).filter((each) => !each.hidden);
  const other = all[all.indexOf(moved) + by];
  if (!other) return;
  if (by < 0) other.before(moved);
  else other.after(moved);
  remember(moved);
}

/** Drag a chart by its handle, by mouse, pen or finger, to another place in its group, or a group to another place. */
function drag(/** @type {HTMLElement} */ area) {
  /** @type {HTMLElement | null} */
  let moved = null;
  area.addEventListener("pointerdown", (event) => {
    const handle = /** @type {HTMLElement} */ (event.target).closest?.(".chart-handle");
    if (!handle || event.button !== 0) return;
    moved = movedBy(handle);
    moved?.classList.add("moved");
    handle.setPointerCapture(event.pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (!moved) return;
    const alone = moved.matches("details");
    const below = /** @type {HTMLElement | null | undefined} */ (document.elementFromPoint(event.clientX, event.clientY)?.closest(alone ? "details.chart-group" : "figure.chart"));
    if (!below || below === moved || below.parentElement !== moved.parentElement) return;
    const box = below.getBoundingClientRect();
    const row = rowOf(moved);
    // Only past the middle, so that two of different size do not change places for ever.
    const later = row.indexOf(moved) < row.indexOf(below);
    // Groups stand above one another, charts also side by side.
    const across = alone ? 0.5 : (event.clientX - box.left) / box.width;
    const past = box.height > 0 && across + (event.clientY - box.top) / box.height;
    if (later && past > 0.7) below.after(moved);
    else if (!later && past < 1.3) below.before(moved);
  });
  const end = () => {
    if (!moved) return;
    moved.classList.remove("moved");
    remember(moved);
    moved = null;
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
    for (const group of groupsOf(area)) {
      let some = false;
      for (const box of chartsOf(group)) {
        const said = `${nameOf(group)} ${box.dataset.chart} ${box.querySelector("figcaption")?.textContent}`.toLowerCase();
        box.hidden = !words.every((word) => said.includes(word));
        some ||= !box.hidden;
      }
      group.hidden = !some;
      any ||= some;
    }
    if (none) none.hidden = any;
  }
  field?.addEventListener("input", show);
  if (field?.value) show();
}
