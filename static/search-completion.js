/** Completes the search field of the run table. */

import { completions, nextSuggestion, termBefore } from "./completion.js";
import { query } from "./dom.js";

/** @import { Vocabulary } from "./completion.js" */

const MAX_SUGGESTIONS = 12;

const searchField = query(document, "[data-suggestions]", HTMLInputElement);
if (searchField) enableCompletion(searchField);

/** @param {HTMLInputElement} field */
function enableCompletion(field) {
  const frame = document.createElement("span");
  frame.className = "suggestions";
  field.replaceWith(frame);
  const list = document.createElement("ul");
  list.id = "suggestions";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Suggestions");
  frame.append(field, list);
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  field.setAttribute("aria-expanded", "false");

  /** @type {Vocabulary | null} */
  let vocabulary = null;
  let requested = false;
  /** @type {string[]} */
  let suggestions = [];
  let active = -1;

  /** The term that the cursor is in, and its start. */
  function currentTerm() {
    const before = field.value.slice(0, field.selectionStart ?? field.value.length);
    const term = termBefore(before);
    return { start: before.length - term.length, term };
  }

  function close() {
    suggestions = [];
    active = -1;
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  /** @param {boolean} evenIfEmpty suggest also where nothing has been typed yet */
  function suggest(evenIfEmpty = false) {
    const { term } = currentTerm();
    const wanted = vocabulary && (term || evenIfEmpty) && document.activeElement === field;
    const all = vocabulary && wanted ? completions(term, vocabulary) : [];
    suggestions = all.filter((suggestion) => suggestion !== term).slice(0, MAX_SUGGESTIONS);
    active = -1;
    if (!suggestions.length) {
      close();
      return;
    }
    list.replaceChildren(...suggestions.map(createOption));
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    showActive();
  }

  /**
   * @param {string} text
   * @param {number} i
   */
  function createOption(text, i) {
    const option = document.createElement("li");
    option.id = `suggestion-${i}`;
    option.setAttribute("role", "option");
    option.textContent = text;
    option.addEventListener("mousedown", (event) => {
      event.preventDefault();
      accept(i);
    });
    return option;
  }

  function showActive() {
    [...list.children].forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === active));
    });
    if (active >= 0) {
      field.setAttribute("aria-activedescendant", `suggestion-${active}`);
      list.children[active].scrollIntoView({ block: "nearest" });
    } else field.removeAttribute("aria-activedescendant");
  }

  /** @param {number} i */
  function accept(i) {
    const { start, term } = currentTerm();
    const text = suggestions[i];
    // A term that ends with an operator still needs its value.
    const complete = !/[:>]$/.test(text);
    const after = field.value.slice(start + term.length);
    const space = complete && !after.startsWith(" ") ? " " : "";
    field.value = field.value.slice(0, start) + text + space + after;
    const cursor = start + text.length + (complete ? 1 : 0);
    field.setSelectionRange(cursor, cursor);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  async function loadAndSuggest() {
    if (!requested) {
      requested = true;
      const response = await fetch("/runs/suggestions");
      if (response.ok) vocabulary = await response.json();
    }
    suggest();
  }

  field.addEventListener("focus", loadAndSuggest);
  field.addEventListener("input", loadAndSuggest);
  field.addEventListener("click", () => suggest());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const { key } = event;
    if (list.hidden) {
      if (key === "ArrowDown") suggest(true);
      return;
    }
    if (key === "ArrowDown" || key === "ArrowUp") {
      active = nextSuggestion(active, key, suggestions.length);
      showActive();
    } else if ((key === "Enter" || key === "Tab") && active >= 0) accept(active);
    else if (key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
