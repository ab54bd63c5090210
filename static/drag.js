/** Dragging a row of a list to another place, by pointer: mouse, pen or finger. */

const EDGE = 60;
const SCROLL = 14;

/**
 * @param {HTMLElement} area what holds the list; stays while rows come and go
 * @param {string} rows selects the rows within it; each has one `[data-handle]`
 * @param {(row: HTMLElement, other: HTMLElement, before: boolean) => void} drop
 * @param {() => void} over called after every drag, dropped or not
 * @returns {() => boolean} whether something is being dragged
 */
export function draggable(area, rows, drop, over) {
  /** @type {{ row: HTMLElement, others: { row: HTMLElement, middle: number, was: number }[], from: number, to: number, top: number, height: number, start: number, y: number, pointer: number, frame: number } | null} */
  let drag = null;

  const board = () => /** @type {HTMLElement} */ (drag?.row.parentElement?.parentElement);

  function show() {
    if (!drag) return;
    const moved = drag.y + scrollY - drag.start;
    drag.row.style.transform = `translateY(${moved}px)`;
    const middle = drag.top + moved + drag.height / 2;
    drag.to = drag.others.filter((other) => other.middle < middle).length;
    drag.others.forEach(({ row, was }, i) => {
      const by = i >= /** @type {any} */ (drag).to && was < /** @type {any} */ (drag).from ? 1 : i < /** @type {any} */ (drag).to && was > /** @type {any} */ (drag).from ? -1 : 0;
      row.style.transform = by ? `translateY(${by * /** @type {any} */ (drag).height}px)` : "";
    });
  }

  function scroll() {
    if (!drag) return;
    const by = drag.y < EDGE ? -SCROLL : drag.y > innerHeight - EDGE ? SCROLL : 0;
    if (by) {
      scrollBy(0, by);
      show();
    }
    drag.frame = requestAnimationFrame(scroll);
  }

  /** @param {boolean} dropped */
  function end(dropped) {
    if (!drag) return;
    const { row, others, from, to, frame } = drag;
    cancelAnimationFrame(frame);
    delete board().dataset.dragging;
    delete row.dataset.dragged;
    for (const each of [row, ...others.map((other) => other.row)]) each.style.transform = "";
    drag = null;
    if (dropped && to !== from) {
      const other = to > 0 ? others[to - 1].row : others[0].row;
      if (to > 0) other.after(row);
      else other.before(row);
      drop(row, other, to === 0);
    }
    over();
  }

  area.addEventListener("pointerdown", (event) => {
    const handle = /** @type {HTMLElement} */ (event.target).closest?.("[data-handle]");
    const row = /** @type {HTMLElement | null} */ (handle?.closest(rows) ?? null);
    if (!handle || !row || event.button !== 0 || drag) return;
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    const all = /** @type {HTMLElement[]} */ ([...area.querySelectorAll(rows)]);
    const measured = all.map((each, was) => {
      const box = each.getBoundingClientRect();
      return { row: each, middle: box.top + scrollY + box.height / 2, was };
    });
    const box = row.getBoundingClientRect();
    const from = all.indexOf(row);
    drag = {
      row,
      others: measured.filter((each) => each.row !== row),
      from,
      to: from,
      top: box.top + scrollY,
      height: box.height,
      start: event.clientY + scrollY,
      y: event.clientY,
      pointer: event.pointerId,
      frame: requestAnimationFrame(scroll),
    };
    row.dataset.dragged = "";
    board().dataset.dragging = "";
  });

  area.addEventListener("pointermove", (event) => {
    if (drag?.pointer !== event.pointerId) return;
    drag.y = event.clientY;
    show();
  });
  area.addEventListener("pointerup", (event) => {
    if (drag?.pointer === event.pointerId) end(true);
  });
  area.addEventListener("pointercancel", (event) => {
    if (drag?.pointer === event.pointerId) end(false);
  });
  document.addEventListener("keydown", (event) => {
    if (drag && event.key === "Escape") end(false);
  });

  return () => drag !== null;
}
