/** Uploads images, chosen or dropped on the page, with progress; without this script the form works for files. */

import { byId, get } from "./dom.js";

/** A file and its path within what was dropped or chosen. @typedef {{ path: string, file: File }} Found */

const form = byId("upload", HTMLFormElement);
const name = byId("upload-name", HTMLInputElement);
const files = byId("upload-file", HTMLInputElement);
const folder = byId("upload-folder", HTMLInputElement);
const start = byId("upload-start", HTMLButtonElement);
const cancel = byId("upload-cancel", HTMLButtonElement);
const error = byId("upload-error", HTMLElement);
const text = byId("upload-text", HTMLElement);
const area = byId("upload-progress", HTMLElement);
const progress = get(area, "progress", HTMLProgressElement);
const hint = byId("upload-hint", HTMLElement);

/** @type {Found[]} */
let chosen = [];
/** @type {XMLHttpRequest | null} */
let request = null;

function megabytes(/** @type {number} */ bytes) {
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** A dataset name made of the name of a file or folder. */
function suggestedName(/** @type {string} */ original) {
  const base = original.replace(/\.(zip|tar|tgz|tar\.\w+|npz|csv|tsv|parquet)$/i, "");
  return base
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/^[-_]+|-+$/g, "")
    .slice(0, 40);
}

function choose(/** @type {Found[]} */ found) {
  chosen = found;
  files.required = !found.length;
  error.textContent = "";
  if (!found.length) return;
  const top = found[0].path.split("/")[0];
  if (!name.value) name.value = suggestedName(top);
  const bytes = found.reduce((sum, { file }) => sum + file.size, 0);
  const what = found.length === 1 ? found[0].path : `${found.length.toLocaleString("en-US")} files of ${top}`;
  hint.textContent = `${what}, ${megabytes(bytes)}`;
  name.focus();
}

files.addEventListener("change", () => {
  folder.value = "";
  choose(Array.from(files.files ?? [], (file) => ({ path: file.name, file })));
});
folder.addEventListener("change", () => {
  files.value = "";
  choose(Array.from(folder.files ?? [], (file) => ({ path: file.webkitRelativePath || file.name, file })));
});

// Drag and drop -------------------------------------------------------------------------------------------------------

function hasFiles(/** @type {DragEvent} */ event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.documentElement.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.documentElement.classList.remove("dropping");
});
document.addEventListener("drop", async (event) => {
  if (!hasFiles(event) || !event.dataTransfer) return;
  event.preventDefault();
  document.documentElement.classList.remove("dropping");
  // The entries must be taken now: the list is empty once this handler has returned.
  const dropped = Array.from(event.dataTransfer.items, (item) => ({
    entry: item.webkitGetAsEntry(),
    file: item.getAsFile(),
  }));
  files.value = folder.value = "";
  hint.textContent = "Reading the folder…";
  /** @type {Found[]} */
  const found = [];
  for (const { entry, file } of dropped) {
    if (entry) await collect(entry, "", found);
    // What a page or another program made up has no place on a disk.
    else if (file) found.push({ path: file.name, file });
  }
  choose(found);
  if (!found.length) hint.textContent = "You dropped no files.";
});

/**
 * Adds all files of an entry.
 * @param {FileSystemEntry} entry
 * @param {string} parent
 * @param {Found[]} found
 */
async function collect(entry, parent, found) {
  const path = parent ? `${parent}/${entry.name}` : entry.name;
  if (entry.isFile) {
    const one = /** @type {FileSystemFileEntry} */ (entry);
    found.push({ path, file: await new Promise((resolve, reject) => one.file(resolve, reject)) });
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    // Browsers return at most a hundred entries at a time.
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await collect(each, path, found);
  }
}

// Upload --------------------------------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (request) return;
  if (!chosen.length) {
    error.textContent = "Choose a file or a folder, or drop one on this page.";
    files.focus();
    return;
  }
  upload();
});

function upload() {
  const data = new FormData();
  data.append("name", name.value.trim());
  data.append("keep", "false");
  for (const { path, file } of chosen) data.append("file", file, path);
  request = new XMLHttpRequest();
  request.open("POST", "/api/v1/datasets");
  request.responseType = "json";
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    progress.max = total || 1;
    progress.value = loaded;
    text.textContent = `Uploading ${megabytes(loaded)} of ${megabytes(total)}`;
  });
  request.addEventListener("load", () => ended(request?.status ?? 0, request?.response));
  request.addEventListener("error", () => ended(0, null));
  request.addEventListener("abort", () => ended(-1, null));
  showUploading(true);
  request.send(data);
}

/**
 * @param {number} status of the response; 0 if the connection broke, -1 if the user cancelled
 * @param {any} response
 */
function ended(status, response) {
  request = null;
  if (status === 202) {
    location.assign(response.url);
    return;
  }
  showUploading(false);
  if (status === -1) error.textContent = "";
  else if (status === 0) error.textContent = "Connection lost; nothing was saved. Try again.";
  else error.textContent = problem(response, status);
}

function problem(/** @type {any} */ response, /** @type {number} */ status) {
  const message = response?.errors?.[0]?.message ?? response?.detail ?? `The server answered with status ${status}`;
  return `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
}

function showUploading(/** @type {boolean} */ uploading) {
  area.hidden = !uploading;
  start.disabled = uploading;
  error.textContent = "";
  text.textContent = "Uploading…";
  progress.value = 0;
}

cancel.addEventListener("click", () => request?.abort());
addEventListener("beforeunload", (event) => {
  // Leaving the page would break the upload off.
  if (request) event.preventDefault();
});
