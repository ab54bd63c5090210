/**
 * Updates elements in place instead of replacing them. A press on a button that is updated before the release is still a
 * click, focus and text selection stay, and so do texts that were typed and sections that were opened.
 */

/** The attributes that a user changes: by typing and choosing, and by opening a section. */
const CHANGED_BY_USERS = new Set(["value", "checked", "selected", "open"]);

/** Whether the user changed an element since the server sent it. */
function isChanged(/** @type {Element | null} */ element) {
  if (element instanceof HTMLDetailsElement) return true;
  if (element instanceof HTMLOptionElement) return isChanged(element.closest("select"));
  if (element instanceof HTMLSelectElement) {
    const initial = [...element.options].findIndex((option) => option.defaultSelected);
    return element.selectedIndex !== Math.max(0, initial);
  }
  if (element instanceof HTMLTextAreaElement) return element.value !== element.defaultValue;
  if (!(element instanceof HTMLInputElement) || element.type === "hidden") return false;
  return element.value !== element.defaultValue || element.checked !== element.defaultChecked;
}

/** @type {import("idiomorph").Config["callbacks"]} */
const callbacks = {
  beforeAttributeUpdated: (name, element) => !(CHANGED_BY_USERS.has(name) && isChanged(element)),
};

/**
 * Make an element, or with `inside` its content, equal to new nodes.
 * @param {Element} target
 * @param {Element | Iterable<Node>} content
 * @param {boolean} inside
 * @returns {Node[]} the nodes that now stand for the new ones
 */
export function morph(target, content, inside = false) {
  const nodes = content instanceof Element ? content : [...content];
  const morphed = window.Idiomorph.morph(target, nodes, { morphStyle: inside ? "innerHTML" : "outerHTML", callbacks });
  if (morphed instanceof Promise) throw new Error("Only a document whose head loads files is morphed asynchronously.");
  return morphed;
}

window.htmx.defineExtension("morph", {
  isInlineSwap: (/** @type {string} */ style) => style === "morph",
  handleSwap(style, target, fragment) {
    if (!(target instanceof Element)) return false;
    if (style === "morph") return morph(target, fragment.childNodes);
    return style === "morph:innerHTML" && morph(target, fragment.childNodes, true);
  },
});
