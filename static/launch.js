/** The launch form: what the server found wrong is also said to assistive technology, and one press launches one run. */

const form = /** @type {HTMLFormElement} */ (document.getElementById("launch"));

function markInvalid() {
  for (const error of form.querySelectorAll(".error[id]")) {
    const field = document.getElementById(error.id.replace("error-", "field-"));
    field?.setAttribute("aria-invalid", error.textContent?.trim() ? "true" : "false");
  }
}

document.addEventListener("htmx:afterSettle", markInvalid);

// What was opened stays open when the form comes anew.
let opened = false;
document.addEventListener("htmx:beforeSwap", () => {
  opened = /** @type {HTMLDetailsElement | null} */ (document.getElementById("more"))?.open ?? false;
});
document.addEventListener("htmx:afterSwap", () => {
  const more = /** @type {HTMLDetailsElement | null} */ (document.getElementById("more"));
  if (more && opened) more.open = true;
});

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
