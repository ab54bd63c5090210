/** The forms that change a running run: each shows the outcome of the last change next to it. */

let shownState = "";
/** Whether a refusal is shown: it stays until another change is requested. */
let refused = false;

function showOutcome() {
  const output = document.getElementById("control-said");
  const problem = document.getElementById("change-problem");
  const last = document.querySelector("#changes [data-change]");
  const newest = problem ?? last;
  const state = last?.textContent?.replace(/\s+·.*/s, "") ?? "";
  if (!output || !newest || (!problem && (refused || state === shownState))) return;
  refused = problem !== null;
  shownState = state;
  const parts = [...newest.querySelectorAll(".what, .state")].map((part) => part.textContent?.trim());
  const text = parts.join(": ") || newest.textContent || "";
  output.textContent = text;
  output.title = text;
  output.dataset.state = (newest instanceof HTMLElement ? newest.dataset.state : undefined) ?? "refused";
}

/** @returns {element is HTMLFormElement} */
function isControlForm(/** @type {EventTarget | null} */ element) {
  return element instanceof HTMLFormElement && element.closest("#run-control") !== null;
}

document.addEventListener("DOMContentLoaded", showOutcome);
document.addEventListener("htmx:load", ({ detail: { elt } }) => {
  if (!elt.closest?.("#run-control")) return;
  shownState = "";
  refused = false;
  showOutcome();
});
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target?.id === "run-changes") showOutcome();
});
document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (isControlForm(detail.elt)) refused = false;
});
document.addEventListener("htmx:afterRequest", ({ detail: { elt, successful } }) => {
  if (isControlForm(elt) && successful && !document.getElementById("change-problem")) elt.reset();
});
