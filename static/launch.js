/** The launch form: what the server found wrong is also said to assistive technology, and one press launches one run. */

const form = /** @type {HTMLFormElement} */ (document.getElementById("launch"));

function markInvalid() {
  for (const error of form.querySelectorAll(".error[id]")) {
    const field = document.getElementById(error.id.replace("error-", "field-"));
    field?.setAttribute("aria-invalid", error.textContent?.trim() ? "true" : "false");
  }
}

document.addEventListener("htmx:afterSettle", markInvalid);

// The form comes anew after a choice that others depend on. What was opened stays open, and what was typed while it was
// on its way is put back: the server could not know of it.
let opened = false;
/** @type {Map<string, string>} name -> value */
const typed = new Map();

/** @param {Event} event */
function isForm(event) {
  return /** @type {CustomEvent} */ (event).detail.target?.id === "launch-form";
}

for (const kind of ["input", "change"]) {
  form.addEventListener(kind, (event) => {
    const field = /** @type {HTMLInputElement} */ (event.target);
    if (field.name && !("depends" in field.dataset) && field.type !== "checkbox") typed.set(field.name, field.value);
  });
}
document.addEventListener("htmx:beforeRequest", (event) => {
  if (isForm(event)) typed.clear();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!isForm(event)) return;
  opened = /** @type {HTMLDetailsElement | null} */ (document.getElementById("more"))?.open ?? false;
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (!isForm(event)) return;
  const more = /** @type {HTMLDetailsElement | null} */ (document.getElementById("more"));
  if (more && opened) more.open = true;
  for (const [name, value] of typed) putBack(name, value);
});

/**
 * Set a field as its user would have; one that is not there any more is left out.
 * @param {string} name
 * @param {string} value
 */
function putBack(name, value) {
  const selector = `[name="${CSS.escape(name)}"]`;
  const fields = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll(selector));
  const field = [...fields].find((each) => each.type !== "radio" || each.value === value);
  if (!field || field.type === "hidden") return;
  if (field.type === "radio") field.checked = true;
  else field.value = value;
  field.dispatchEvent(new Event(field.tagName === "SELECT" || field.type === "radio" ? "change" : "input", { bubbles: true }));
}

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
  button.textContent = "Launch";
  /** @type {HTMLInputElement} */ (form.elements.namedItem("key")).value = crypto.randomUUID();
});

document.getElementById("preset")?.addEventListener("change", () => {
  /** @type {HTMLFormElement} */ (document.getElementById("preset-form")).requestSubmit();
});
