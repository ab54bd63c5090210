import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { moveItem, orderByPosition } from "../../static/reorder.js";

describe("order", () => {
  const positionsOf = (order) => (item) => order.indexOf(item);
  test("items without a position come last, as they were", () => {
    assert.deepEqual(orderByPosition(["x", "a", "y", "b"], positionsOf(["b", "a"])), ["b", "a", "x", "y"]);
    assert.deepEqual(orderByPosition(["x", "y"], positionsOf([])), ["x", "y"]);
    assert.deepEqual(orderByPosition([], positionsOf(["a"])), []);
  });
  test("an item moves to an index within the list", () => {
    assert.deepEqual(moveItem(["a", "b", "c"], "a", 2), ["b", "c", "a"]);
    assert.deepEqual(moveItem(["a", "b", "c"], "c", -5), ["c", "a", "b"]);
    assert.deepEqual(moveItem(["a", "b", "c"], "a", 99), ["b", "c", "a"]);
    assert.deepEqual(moveItem(["a", "b"], "z", 0), ["a", "b"]);
  });
});
