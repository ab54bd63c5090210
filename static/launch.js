/** The launch form: accessible errors, text that survives a refresh of the form, and one run per press of the button. */

import { byId, closest, get, queryAll } from "./dom.js";

const form = byId("launch", HTMLFormElement);
const button = () => byId("launch-button", HTMLButtonElement);

/** The field that belongs to an element such as `error-epochs`. */
const fieldOf = (/** @type {Element} */ element) =>
  document.getElementById(element.id.replace(/^(error|mark)-/, "field-"));

document.addEventListener("htmx:afterSettle", () => {
  for (const error of form.querySelectorAll(".error[id]")) {
    fieldOf(error)?.setAttribute("aria-invalid", error.textContent?.trim() ? "true" : "false");
  }
  // The default of a field may depend on another field: that of the warm-up on the schedule.
  for (const mark of queryAll(form, ".mark[data-blank]", HTMLElement)) {
    const field = fieldOf(mark);
    if (field instanceof HTMLInputElement) field.placeholder = mark.dataset.blank ?? "";
  }
});

// Links that reset fields to the recipe. Without a script they reload the form.
form.addEventListener("click", (event) => {
  const link = closest(event.target, "[data-back]", HTMLElement);
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const links = link.dataset.back === "*" ? queryAll(form, ".field [data-back]", HTMLElement) : [link];
  const fields = links.flatMap(({ dataset }) => {
    const field = document.getElementById(`field-${dataset.back}`);
    return field instanceof HTMLInputElement || field instanceof HTMLSelectElement ? [field] : [];
  });
  for (const { dataset } of links) {
    const also = `[name="${CSS.escape(`also.${dataset.back}`)}"]`;
    for (const box of queryAll(form, also, HTMLInputElement)) {
      box.checked = false;
      typed.set(`${box.name}=${box.value}`, { name: box.name, value: box.value, checked: false });
    }
  }
  for (const field of fields) {
    field.value = "";
    typed.set(field.name, { name: field.name, value: "", checked: false });
  }
  fields[0]?.focus();
  fields[0]?.dispatchEvent(new Event("change", { bubbles: true }));
});

// Refreshes: a choice that other fields depend on reloads the form -----------------------------------------------------

/** Ids of the open sections, which stay open. @type {Set<string>} */
const openSections = new Set();
let commandKind = "as-curl";
/** @typedef {{name: string, value: string, checked: boolean}} Typed */
/**
 * What was typed while a refresh was on its way, by field name; for checkboxes, which can share a name, by name and value.
 * @type {Map<string, Typed>}
 */
const typed = new Map();

/** @param {CustomEvent<{target: HTMLElement}>} event */
const targetsForm = ({ detail }) => detail.target?.id === "launch-form";

for (const type of ["input", "change"]) {
  form.addEventListener(
    type,
    (event) => {
      const field = event.target;
      const isField =
        field instanceof HTMLInputElement || field instanceof HTMLSelectElement || field instanceof HTMLTextAreaElement;
      if (!isField) return;
      if (field.name === "command") commandKind = field.id;
      const { name, value } = field;
      if (!name || field.form !== form) return;
      const checked = field instanceof HTMLInputElement && field.checked;
      typed.set(field.type === "checkbox" ? `${name}=${value}` : name, { name, value, checked });
    },
    // Before htmx, whose request clears `typed`.
    true,
  );
}
document.addEventListener("htmx:beforeRequest", (event) => {
  if (targetsForm(event)) typed.clear();
});
form.addEventListener(
  "toggle",
  (event) => {
    const section = event.target;
    if (!(section instanceof HTMLDetailsElement)) return;
    if (section.open) openSections.add(section.id);
    else openSections.delete(section.id);
  },
  true,
);
document.addEventListener("htmx:afterSwap", () => {
  for (const id of openSections) document.getElementById(id)?.setAttribute("open", "");
  byId(commandKind, HTMLInputElement).checked = true;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (!targetsForm(event)) return;
  // Fields that others depend on come last, because they trigger another refresh.
  const triggersRefresh = (/** @type {Typed} */ { name }) =>
    form.querySelector(`[name="${CSS.escape(name)}"][data-depends]`) !== null;
  const all = [...typed.values()];
  for (const each of all.filter((other) => !triggersRefresh(other))) restoreField(each);
  for (const each of all.filter(triggersRefresh)) restoreField(each);
});

/**
 * Set a field as the user did, if the form still has it.
 * @param {Typed} typed
 */
function restoreField({ name, value, checked }) {
  const field = [...form.querySelectorAll(`[name="${CSS.escape(name)}"]`)].find(
    (each) => !(each instanceof HTMLInputElement && ["radio", "checkbox"].includes(each.type)) || each.value === value,
  );
  if (field instanceof HTMLInputElement) {
    if (field.type === "hidden") return;
    if (field.type === "radio") field.checked = true;
    else if (field.type === "checkbox") field.checked = checked;
    else field.value = value;
    const isChoice = field.type === "radio" || field.type === "checkbox";
    field.dispatchEvent(new Event(isChoice ? "change" : "input", { bubbles: true }));
  } else if (field instanceof HTMLSelectElement || field instanceof HTMLTextAreaElement) {
    field.value = value;
    field.dispatchEvent(new Event(field instanceof HTMLSelectElement ? "change" : "input", { bubbles: true }));
  }
}

const fault = byId("launch-fault", HTMLElement);
for (const type of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(type, () => {
    fault.textContent = "Could not reach the server to check the form. Error messages may be outdated.";
  });
}
document.addEventListener("htmx:afterSwap", () => {
  fault.textContent = "";
});

// Launching -----------------------------------------------------------------------------------------------------------

form.addEventListener("submit", () => {
  // In the next frame: a disabled button would not be submitted with the form.
  requestAnimationFrame(() => {
    button().disabled = true;
    button().textContent = "Launching…";
  });
});

// A form that is restored from the browser's history launches another run, so it needs a new key.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  button().disabled = false;
  button().textContent = button().dataset.words ?? "Launch";
  get(form, "[name=key]", HTMLInputElement).value = crypto.randomUUID();
});

document.getElementById("preset")?.addEventListener("change", () => {
  byId("preset-form", HTMLFormElement).requestSubmit();
});
