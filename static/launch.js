/** The launch form: what the server found wrong is also said to assistive technology, and one press launches one run. */

const form = /** @type {HTMLFormElement} */ (document.getElementById("launch"));

function markInvalid() {
  for (const error of form.querySelectorAll(".error[id]")) {
    const field = document.getElementById(error.id.replace("error-", "field-"));
    field?.setAttribute("aria-invalid", error.textContent?.trim() ? "true" : "false");
  }
}

document.addEventListener("htmx:afterSettle", markInvalid);

// What a blank means may follow from another field: the warm-up from the schedule.
document.addEventListener("htmx:afterSettle", () => {
  for (const mark of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll(".mark[data-blank]"))) {
    const field = document.getElementById(mark.id.replace("mark-", "field-"));
    if (field instanceof HTMLInputElement) field.placeholder = mark.dataset.blank ?? "";
  }
});

// The way back to the recipe: a link that loads the form anew, or, here, fields that are made blank again.
form.addEventListener("click", (event) => {
  const link = /** @type {HTMLElement | null} */ (/** @type {HTMLElement} */ (event.target).closest("[data-back]"));
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const links = /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll(".field [data-back]"));
  const names = link.dataset.back === "*" ? [...links].map((each) => each.dataset.back) : [link.dataset.back];
  /** @type {HTMLInputElement[]} */
  const fields = names.flatMap((name) => /** @type {HTMLInputElement | null} */ (form.querySelector(`#field-${name}`)) ?? []);
  for (const field of fields) {
    field.value = "";
    typed.set(field.name, { name: field.name, value: "", checked: false });
  }
  fields[0]?.focus();
  fields[0]?.dispatchEvent(new Event("change", { bubbles: true }));
});

// The form comes anew after a choice that others depend on. What was opened stays open, and what was typed while it was
// on its way is put back: the server could not know of it.
/** @type {Set<string>} ids of what is unfolded */
const unfolded = new Set();
let commandKind = "as-curl";
/** @typedef {{ name: string, value: string, checked: boolean }} Typed */
/** @type {Map<string, Typed>} by name; of checkboxes, several of which have one name, by name and value */
const typed = new Map();

/** @param {Event} event */
function isForm(event) {
  return /** @type {CustomEvent} */ (event).detail.target?.id === "launch-form";
}

for (const kind of ["input", "change"]) {
  form.addEventListener(kind, (event) => {
    const field = /** @type {HTMLInputElement} */ (event.target);
    if (field.name === "command") commandKind = field.id;
    const { name, value, type, checked } = field;
    if (!name || field.form !== form) return;
    typed.set(type === "checkbox" ? `${name}=${value}` : name, { name, value, checked });
  }, true); // before htmx, which sends what is typed and so forgets it
}
document.addEventListener("htmx:beforeRequest", (event) => {
  if (isForm(event)) typed.clear();
});
form.addEventListener(
  "toggle",
  (event) => {
    const details = /** @type {HTMLDetailsElement} */ (event.target);
    if (details.open) unfolded.add(details.id);
    else unfolded.delete(details.id);
  },
  true,
);
document.addEventListener("htmx:afterSwap", () => {
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  /** @type {HTMLInputElement} */ (document.getElementById(commandKind)).checked = true;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (!isForm(event)) return;
  // What others depend on goes last: it lets the form come once more.
  const depends = (/** @type {Typed} */ { name }) => form.querySelector(`[name="${CSS.escape(name)}"][data-depends]`) !== null;
  const kept = [...typed.values()];
  for (const each of kept.filter((each) => !depends(each))) putBack(each);
  for (const each of kept.filter(depends)) putBack(each);
});

/**
 * Set a field as its user would have; one that is not there any more is left out.
 * @param {Typed} typed
 */
function putBack({ name, value, checked }) {
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll(`[name="${CSS.escape(name)}"]`));
  const field = [...fields].find((each) => !["radio", "checkbox"].includes(each.type) || each.value === value);
  if (!field || field.type === "hidden") return;
  if (field.type === "radio") field.checked = true;
  else if (field.type === "checkbox") field.checked = checked;
  else field.value = value;
  const atOnce = field.tagName === "SELECT" || field.type === "radio" || field.type === "checkbox";
  field.dispatchEvent(new Event(atOnce ? "change" : "input", { bubbles: true }));
}

// What is said beside the fields is of the last answer that came.
const fault = /** @type {HTMLElement} */ (document.getElementById("launch-fault"));
for (const kind of ["htmx:responseError", "htmx:sendError"]) {
  document.addEventListener(kind, () => (fault.textContent = "The form could not be checked: the server did not answer as it should. What stands beside the fields may be out of date."));
}
document.addEventListener("htmx:afterSwap", () => (fault.textContent = ""));

form.addEventListener("submit", () => {
  const button = /** @type {HTMLButtonElement} */ (document.getElementById("launch-button"));
  requestAnimationFrame(() => {
    button.disabled = true;
    button.textContent = "Launching…";
  });
});

// Who comes back to the form by the history means another run.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  const button = /** @type {HTMLButtonElement} */ (document.getElementById("launch-button"));
  button.disabled = false;
  button.textContent = button.dataset.words ?? "Launch";
  /** @type {HTMLInputElement} */ (form.elements.namedItem("key")).value = crypto.randomUUID();
});

document.getElementById("preset")?.addEventListener("change", () => {
  /** @type {HTMLFormElement} */ (document.getElementById("preset-form")).requestSubmit();
});
