/** What can be done with one chart beside looking at it: seen alone, and taken along as CSV, PNG or SVG. */

import { writtenX } from "./chart-words.js";

/** @typedef {{box: HTMLElement, definition: import("./chart.js").Definition, board: import("./board.js").Board, uplot: any}} Chart */

/** @param {Chart} chart */
export function addMenu(chart) {
  if (chart.box.querySelector(".chart-menu")) return;
  const menu = document.createElement("details");
  menu.className = "chart-menu";
  const summary = document.createElement("summary");
  summary.setAttribute("aria-label", `what to do with ${chart.definition.title}`);
  summary.textContent = "⋯";
  const list = document.createElement("div");
  const acts = /** @type {[string, () => unknown][]} */ ([
    ["Full screen", () => chart.box.requestFullscreen()],
    ...(chart.box.closest(".chart-group") ? /** @type {[string, () => unknown][]} */ ([["Move ahead", () => move(chart.box, -1)], ["Move back", () => move(chart.box, 1)]]) : []),
    ["Copy as CSV", () => copy(csvOf(chart), menu)],
    ["Save CSV", () => save(new Blob([csvOf(chart)], { type: "text/csv" }), chart, "csv")],
    ["Save PNG", () => pngOf(chart)],
    ["Save SVG", () => save(new Blob([svgOf(chart)], { type: "image/svg+xml" }), chart, "svg")],
  ]);
  for (const [words, act] of acts) {
    if (words === "Full screen" && !document.fullscreenEnabled) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => {
      menu.open = false;
      if (chart.uplot || words.startsWith("Move")) act();
    });
    list.append(button);
  }
  function move(/** @type {HTMLElement} */ box, /** @type {number} */ by) {
    box.dispatchEvent(new CustomEvent("chart-move", { bubbles: true, detail: by }));
    summary.focus();
  }
  menu.append(summary, list);
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    summary.focus();
    event.stopPropagation();
  });
  menu.addEventListener("focusout", (event) => {
    if (!menu.contains(/** @type {Node | null} */ (event.relatedTarget))) menu.open = false;
  });
  chart.box.querySelector("figcaption")?.append(menu);
}

/** What is drawn as a table: x, then each curve; where a curve has no point its cell is blank. */
function csvOf(/** @type {Chart} */ chart) {
  const quoted = (/** @type {string} */ words) => (/[",\n]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words);
  const shown = shownSeries(chart);
  const head = [chart.board.controls.x, ...shown.map(({ label }) => quoted(label))];
  const data = chart.data(true);
  const rows = data[0].map((/** @type {number} */ x, /** @type {number} */ i) => [x, ...shown.map(({ at }) => data[at][i] ?? "")].join(","));
  return [head.join(","), ...rows, ""].join("\n");
}

const WORDS = { high: " high", low: " low", faint: " raw", smooth: "", plain: "" };

/** The series with their place in uPlot's data; the raw trace below a smooth one is named as such. */
function shownSeries(/** @type {Chart} */ chart) {
  return chart.uplot.series.slice(1).map((/** @type {any} */ series, /** @type {number} */ i) => {
    return { label: series.label + WORDS[/** @type {keyof typeof WORDS} */ (series.kind)], at: i + 1, series };
  });
}

/**
 * @param {string} words
 * @param {HTMLElement} menu
 */
async function copy(words, menu) {
  await navigator.clipboard.writeText(words);
  const summary = /** @type {HTMLElement} */ (menu.querySelector("summary"));
  summary.textContent = "copied";
  setTimeout(() => (summary.textContent = "⋯"), 1500);
}

/** The page's heading and the chart's own, as a file or a picture of it is called. */
function titleOf(/** @type {Chart} */ chart) {
  const number = /** @type {HTMLElement | null} */ (document.querySelector("[data-number]"))?.dataset.number;
  return [number && `#${number}`, document.querySelector("h1")?.textContent?.trim(), chart.definition.title].filter(Boolean).join(" · ");
}

/**
 * @param {Blob} blob
 * @param {Chart} chart
 * @param {string} kind
 */
function save(blob, chart, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${titleOf(chart)}`.replace(/[^\w.-]+/g, "-").replace(/^-+|-+$/g, "") + `.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const HEAD = 26;
const ROW = 16;

/** The chart's own pixels, on the page's ground, with its heading above and a legend below. */
function pngOf(/** @type {Chart} */ chart) {
  const u = chart.uplot;
  const drawn = u.ctx.canvas;
  const canvas = document.createElement("canvas");
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const look = getComputedStyle(chart.box);
  const font = `11px ${look.fontFamily}`;
  context.font = font;
  /** @type {{x: number, row: number, series: any, at: number, label: string}[]} */
  const keys = [];
  let [x, row] = [8, 0];
  for (const { series, at, label } of named(shownSeries(chart))) {
    const wide = 22 + context.measureText(label).width + 14;
    if (x > 8 && x + wide > u.width) [x, row] = [8, row + 1];
    keys.push({ x, row, series, at, label });
    x += wide;
  }
  [canvas.width, canvas.height] = [drawn.width, drawn.height + (HEAD + ROW * (row + 1) + 8) * devicePixelRatio];
  context.fillStyle = look.backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(drawn, 0, HEAD * devicePixelRatio);
  context.scale(devicePixelRatio, devicePixelRatio);
  context.fillStyle = look.color;
  context.font = `600 12px ${look.fontFamily}`;
  context.fillText(titleOf(chart), 8, 17, u.width - 16);
  context.font = font;
  for (const { x, row, series, at, label } of keys) {
    const y = HEAD + u.height + ROW * row + 8;
    context.strokeStyle = strokeOf(u, series, at);
    context.lineWidth = 2;
    context.setLineDash(series.dash ?? []);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + 18, y);
    context.stroke();
    context.fillText(label, x + 22, y + 4);
  }
  canvas.toBlob((blob) => blob && save(blob, chart, "png"));
}

/** Those with a name of their own in a legend: neither the faint trace below a smoothed one nor the end of a band. */
function named(/** @type {ReturnType<typeof shownSeries>} */ shown) {
  return shown.filter((/** @type {any} */ { series }) => ["smooth", "plain"].includes(series.kind));
}

/** @param {any} u @param {any} series @param {number} at */
function strokeOf(u, series, at) {
  return typeof series.stroke === "function" ? series.stroke(u, at) : series.stroke;
}

/** The chart drawn anew as paths, with its ticks and a legend, so that it can be printed at any size. */
function svgOf(/** @type {Chart} */ chart) {
  const u = chart.uplot;
  const { left, top, width, height } = u.bbox;
  const ratio = devicePixelRatio;
  const box = { x: left / ratio, y: top / ratio, w: width / ratio, h: height / ratio };
  const shown = shownSeries(chart);
  const look = getComputedStyle(chart.box);
  const escaped = (/** @type {string} */ words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
  const place = (/** @type {number} */ value, /** @type {string} */ scale) => u.valToPos(value, scale);
  const line = (/** @type {{at: number, series: any}} */ { at, series }) => {
    let path = "";
    let open = false;
    u.data[at].forEach((/** @type {number | null | undefined} */ value, /** @type {number} */ i) => {
      const x = u.data[0][i];
      if (value === null) open = false;
      if (value === null || value === undefined || x < u.scales.x.min || x > u.scales.x.max) return;
      path += `${open ? "L" : "M"}${(box.x + place(x, "x")).toFixed(1)} ${(box.y + place(value, "y")).toFixed(1)}`;
      open = true;
    });
    const stroke = strokeOf(u, series, at);
    const dash = series.dash ? ` stroke-dasharray="${series.dash.join(" ")}"` : "";
    return series.width === 0 ? "" : `<path d="${path}" fill="none" stroke="${stroke}" stroke-width="${series.width}" opacity="${series.alpha ?? 1}"${dash}/>`;
  };
  const bands = (u.bands ?? []).map((/** @type {{series: [number, number], fill: any}} */ { series: [high, low], fill }) => {
    const there = u.data[0].flatMap((/** @type {number} */ x, /** @type {number} */ i) => (u.data[high][i] != null && u.data[low][i] != null && x >= u.scales.x.min && x <= u.scales.x.max ? [i] : []));
    const at = (/** @type {number} */ end) => (/** @type {number} */ i) => `${(box.x + place(u.data[0][i], "x")).toFixed(1)},${(box.y + place(u.data[end][i], "y")).toFixed(1)}`;
    const colour = typeof fill === "function" ? fill(u, high) : fill;
    return `<polygon points="${[...there.map(at(high)), ...there.reverse().map(at(low))].join(" ")}" fill="${colour}"/>`;
  });
  const ticks = u.axes.flatMap((/** @type {any} */ axis, /** @type {number} */ i) =>
    (axis._splits ?? []).map((/** @type {number} */ value, /** @type {number} */ n) => {
      const words = escaped(String(axis._values?.[n] ?? ""));
      if (!words) return "";
      const at = place(value, axis.scale);
      if (i === 0) return `<text x="${box.x + at}" y="${box.y + box.h + 16}" text-anchor="middle">${words}</text>`;
      return `<path d="M${box.x} ${box.y + at}h${box.w}" stroke="#8884"/><text x="${box.x - 6}" y="${box.y + at + 4}" text-anchor="end">${words}</text>`;
    }),
  );
  const keys = named(shown).map((/** @type {any} */ { label, series, at }, /** @type {number} */ i) => {
    const [stroke, y] = [strokeOf(u, series, at), u.height + 18 + ROW * i];
    const dash = series.dash ? ` stroke-dasharray="${series.dash.join(" ")}"` : "";
    return `<line x1="${box.x}" y1="${y - 4}" x2="${box.x + 18}" y2="${y - 4}" stroke="${stroke}" stroke-width="2"${dash}/><text x="${box.x + 24}" y="${y}">${escaped(label)}</text>`;
  });
  const tall = HEAD + u.height + ROW * keys.length + 12;
  const body = [...ticks, `<svg x="0" y="0" overflow="hidden">${bands.join("")}${shown.map(line).join("")}</svg>`, ...keys].join("");
  const title = escaped(`${chart.definition.title}, ${writtenX(chart.board.controls.x, u.scales.x.min)} to ${writtenX(chart.board.controls.x, u.scales.x.max)}`);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${u.width}" height="${tall}" viewBox="0 0 ${u.width} ${tall}" font-family="sans-serif" font-size="11" fill="${look.color}"><title>${title}</title><rect width="100%" height="100%" fill="${look.backgroundColor}"/><text x="8" y="17" font-size="12" font-weight="600">${escaped(titleOf(chart))}</text><g transform="translate(0 ${HEAD})">${body}</g></svg>`;
}
