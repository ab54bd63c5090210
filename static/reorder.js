/** Orders of lists. No DOM here. */

/**
 * The items in the order of their positions; items without one (-1) follow in their present order.
 * @template T
 * @param {readonly T[]} items
 * @param {(item: T) => number} positionOf
 */
export function orderByPosition(items, positionOf) {
  const rank = new Map(items.map((item) => [item, positionOf(item) >= 0 ? positionOf(item) : items.length]));
  return [...items].sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
}

/**
 * The list with one item moved to an index, which is limited to the list; the same list if the item is not in it.
 * @template T
 * @param {readonly T[]} items
 * @param {T} item
 * @param {number} to
 */
export function moveItem(items, item, to) {
  const rest = items.filter((other) => other !== item);
  if (rest.length === items.length) return [...items];
  rest.splice(Math.max(0, Math.min(rest.length, to)), 0, item);
  return rest;
}
