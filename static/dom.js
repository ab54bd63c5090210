/** Typed element lookups. A page that lacks a required element fails at the lookup, with the element's name. */

/**
 * The element with this id; throws if it is missing or has another type.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (element instanceof type) return element;
  throw new Error(`This page has no ${type.name} with the id "${id}".`);
}

/**
 * The first match; throws if it is missing or has another type.
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 */
export function get(root, selector, type) {
  const element = root.querySelector(selector);
  if (element instanceof type) return element;
  throw new Error(`This page has no ${type.name} that matches "${selector}".`);
}

/**
 * The first match, or null.
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 */
export function query(root, selector, type) {
  const element = root.querySelector(selector);
  return element instanceof type ? element : null;
}

/**
 * All matches of this type.
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T[]}
 */
export function queryAll(root, selector, type) {
  /** @type {T[]} */
  const elements = [];
  for (const element of root.querySelectorAll(selector)) if (element instanceof type) elements.push(element);
  return elements;
}

/**
 * The closest match among an event's target and its ancestors, or null.
 * @template {Element} T
 * @param {EventTarget | null | undefined} target
 * @param {string} selector
 * @param {new () => T} type
 */
export function closest(target, selector, type) {
  const element = target instanceof Element ? target.closest(selector) : null;
  return element instanceof type ? element : null;
}

/**
 * The JSON that the server embedded in the page under this id, or the fallback.
 * @template T
 * @param {string} id
 * @param {T} fallback
 * @returns {T}
 */
export function embeddedJson(id, fallback) {
  const text = document.getElementById(id)?.textContent;
  return text ? JSON.parse(text) : fallback;
}
