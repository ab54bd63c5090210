/** A confusion matrix of many classes, drawn on a canvas: only the part in sight, with the names of its classes. */

import { byId, get } from "./dom.js";

/**
 * @typedef {{ classes: number, names: string[], order: number[], show: string, cells: number[], counts: number[],
 *   sums: number[], pictures: string }} Matrix
 */

const LABELS = 96;
const NAMED_FROM = 9;

/** Draw a matrix into #matrix; its cells say in #cell what they are, and open their images. */
export function drawMatrix(/** @type {Matrix} */ matrix) {
  const box = byId("matrix", HTMLElement);
  const space = get(box, ".space", HTMLElement);
  const canvas = get(box, "canvas", HTMLCanvasElement);
  const context = canvas.getContext("2d");
  const zoom = byId("zoom", HTMLSelectElement);
  const told = byId("cell", HTMLOutputElement);
  if (!context) return;
  const { classes, names, order, sums } = matrix;
  const places = new Int32Array(classes);
  order.forEach((label, place) => {
    places[label] = place;
  });
  // By place: most of a million cells are empty.
  const counts = new Map();
  matrix.cells.forEach((cell, i) => {
    const place = places[Math.floor(cell / classes)] * classes + places[cell % classes];
    counts.set(place, matrix.counts[i]);
  });
  let size = 1;
  let row = 0;
  let column = 0;

  function margin() {
    return size >= NAMED_FROM ? LABELS : 14;
  }

  function resize() {
    const chosen = Number(zoom.value);
    size = chosen || Math.max(1, Math.floor(Math.min(box.clientWidth, box.clientHeight) - 14) / classes);
    if (!chosen && size >= NAMED_FROM)
      size = Math.max(NAMED_FROM, (Math.min(box.clientWidth, box.clientHeight) - LABELS) / classes);
    space.style.width = `${margin() + size * classes}px`;
    space.style.height = `${margin() + size * classes}px`;
    draw();
  }

  function draw() {
    if (!context) return;
    const width = box.clientWidth;
    const height = box.clientHeight;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(box);
    const color = (/** @type {string} */ name) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const [wrong, right, ink, ground] = [color("--failed"), color("--accent"), color("--soft"), color("--sunken")];
    const from = margin();
    const left = box.scrollLeft;
    const top = box.scrollTop;
    context.fillStyle = ground;
    context.fillRect(from, from, Math.min(width, size * classes - left), Math.min(height, size * classes - top));
    const firstRow = Math.floor(top / size);
    const lastRow = Math.min(classes, Math.ceil((top + height) / size));
    const firstColumn = Math.floor(left / size);
    const lastColumn = Math.min(classes, Math.ceil((left + width) / size));
    const edge = size >= 6 ? 1 : 0;
    for (const [place, count] of counts) {
      const y = Math.floor(place / classes);
      const x = place % classes;
      if (y < firstRow || y >= lastRow || x < firstColumn || x >= lastColumn) continue;
      // A single mistake is seen too.
      context.globalAlpha = Math.max(0.25, Math.sqrt(count / Math.max(1, sums[order[y]])));
      context.fillStyle = x === y ? right : wrong;
      const side = Math.max(1, size - edge);
      context.fillRect(from + x * size - left, from + y * size - top, side, side);
    }
    context.globalAlpha = 1;
    context.fillStyle = style.backgroundColor === "rgba(0, 0, 0, 0)" ? color("--surface") : style.backgroundColor;
    context.fillRect(0, 0, width, from);
    context.fillRect(0, 0, from, height);
    context.fillStyle = ink;
    context.font = "11px ui-sans-serif, system-ui, sans-serif";
    if (size >= NAMED_FROM) {
      context.textAlign = "right";
      context.textBaseline = "middle";
      for (let y = firstRow; y < lastRow; y++) {
        const at = from + (y + 0.5) * size - top;
        if (at >= from) context.fillText(names[order[y]], from - 4, at, LABELS - 8);
      }
      context.textAlign = "left";
      for (let x = firstColumn; x < lastColumn; x++) {
        const at = from + (x + 0.5) * size - left;
        if (at < from) continue;
        context.save();
        context.translate(at, from - 4);
        context.rotate(-Math.PI / 2);
        context.fillText(names[order[x]], 0, 0, LABELS - 8);
        context.restore();
      }
    } else {
      context.textBaseline = "middle";
      context.textAlign = "left";
      context.fillText("predicted →", from + 2, 7);
      context.save();
      context.translate(7, from + 2);
      context.rotate(-Math.PI / 2);
      context.textAlign = "right";
      context.fillText("← true", 0, 0);
      context.restore();
    }
    context.strokeStyle = ink;
    context.lineWidth = 1.5;
    const [x, y] = [from + column * size - left, from + row * size - top];
    if (x >= from - 1 && y >= from - 1) context.strokeRect(x - 1, y - 1, Math.max(3, size) + 1, Math.max(3, size) + 1);
  }

  function tell() {
    const count = counts.get(row * classes + column) ?? 0;
    const of = sums[order[row]];
    const share = of ? (100 * count) / of : 0;
    told.textContent = `true ${names[order[row]]}, predicted ${names[order[column]]}: ${count} of ${of} (${share.toFixed(1)}%)`;
  }

  function open() {
    if (!counts.get(row * classes + column)) return;
    location.assign(`${matrix.pictures}&true=${order[row]}&predicted=${order[column]}`);
  }

  function pointed(/** @type {MouseEvent} */ event) {
    const area = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - area.left - margin() + box.scrollLeft) / size);
    const y = Math.floor((event.clientY - area.top - margin() + box.scrollTop) / size);
    if (event.clientX - area.left < margin() || event.clientY - area.top < margin()) return false;
    if (x < 0 || y < 0 || x >= classes || y >= classes) return false;
    [row, column] = [y, x];
    return true;
  }

  function reveal() {
    const [x, y] = [column * size, row * size];
    const seen = { width: box.clientWidth - margin(), height: box.clientHeight - margin() };
    if (x < box.scrollLeft) box.scrollLeft = x;
    else if (x + size > box.scrollLeft + seen.width) box.scrollLeft = x + size - seen.width;
    if (y < box.scrollTop) box.scrollTop = y;
    else if (y + size > box.scrollTop + seen.height) box.scrollTop = y + size - seen.height;
  }

  const probe = document.createElement("span");
  probe.hidden = true;
  box.append(probe);
  box.addEventListener("scroll", draw, { passive: true });
  canvas.addEventListener("mousemove", (event) => {
    if (!pointed(event)) return;
    tell();
    draw();
  });
  canvas.addEventListener("click", (event) => {
    if (pointed(event)) open();
  });
  box.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 1;
    const moves = /** @type {Record<string, [number, number]>} */ ({
      ArrowRight: [0, step],
      ArrowLeft: [0, -step],
      ArrowDown: [step, 0],
      ArrowUp: [-step, 0],
    });
    const move = moves[event.key];
    if (move) {
      event.preventDefault();
      row = Math.min(classes - 1, Math.max(0, row + move[0]));
      column = Math.min(classes - 1, Math.max(0, column + move[1]));
      reveal();
      tell();
      draw();
    } else if (event.key === "Enter") open();
  });
  zoom.addEventListener("change", resize);
  new ResizeObserver(resize).observe(box);
}
