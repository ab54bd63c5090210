/**
 * Updates elements in place instead of replacing them. A press on a button that is updated before the release is still a
 * click, focus and text selection stay, and so do texts that were typed and sections that were opened.
 */

/** Whether the user changed a field since the server sent it. */
function isChanged(/** @type {Node} */ node) {
  if (node instanceof HTMLInputElement && (node.type === "checkbox" || node.type === "radio")) {
    return node.checked !== node.defaultChecked;
  }
  if (node instanceof HTMLSelectElement) {
    const initial = [...node.options].findIndex((option) => option.defaultSelected);
    return node.selectedIndex !== Math.max(0, initial);
  }
  if (node instanceof HTMLInputElement && node.type === "hidden") return false;
  return (node instanceof HTMLInputElement || node instanceof HTMLTextAreaElement) && node.value !== node.defaultValue;
}

/** @type {import("idiomorph").Config["callbacks"]} */
const callbacks = {
  beforeNodeMorphed: (node) => !isChanged(node),
  beforeAttributeUpdated: (name, element) => !(name === "open" && element instanceof HTMLDetailsElement),
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
