import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { nextIndex, valueAt, visibleIndices, zoomedRange } from "../../static/crosshair-math.js";

describe("valueAt", () => {
  const xs = [0, 1, 2, 3, 4, 5];
  test("is the value at an index, or the newest before it", () => {
    const values = [10, undefined, 12, undefined, undefined, 15];
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((index) => valueAt(xs, values, index)),
      [10, 10, 12, 12, 12, 15],
    );
  });
  test("ends where the next point would be", () => {
    // Points at 0 and 2: the next one would be at 4.
    const values = [10, undefined, 12, undefined, undefined, undefined];
    assert.deepEqual(
      [3, 4, 5].map((index) => valueAt(xs, values, index)),
      [12, 12, undefined],
    );
  });
  test("a curve of one point has it only there", () => {
    const values = [undefined, 11, undefined];
    assert.deepEqual(
      [0, 1, 2].map((index) => valueAt([0, 1, 2], values, index)),
      [undefined, 11, undefined],
    );
  });
  test("passes over gaps", () => assert.equal(valueAt([0, 1, 2], [10, null, 12], 1), 10));
  test("without a cursor is the curve's end", () => {
    assert.equal(valueAt(xs, [10, 11, 12, undefined, null, undefined], null), 12);
  });
  test("of an empty or missing curve is undefined", () => {
    assert.equal(valueAt([], [], null), undefined);
    assert.equal(valueAt([], [], 0), undefined);
    assert.equal(valueAt(xs, undefined, 0), undefined);
    assert.equal(valueAt([0, 1], [null, null], null), undefined);
  });
  test("notices points that were appended", () => {
    const values = [1, 2];
    assert.equal(valueAt([0, 1], values, null), 2);
    values.push(3);
    assert.equal(valueAt([0, 1, 2], values, null), 3);
  });
});

describe("visibleIndices", () => {
  const xs = [0, 10, 20, 30];
  test("are those within the range", () => {
    assert.deepEqual(visibleIndices(xs, 5, 25), [1, 2]);
    assert.deepEqual(visibleIndices(xs, 0, 30), [0, 3]);
    assert.deepEqual(visibleIndices(xs, -Infinity, Infinity), [0, 3]);
  });
  test("are one index where no point is visible", () => {
    assert.deepEqual(visibleIndices(xs, 12, 18), [1, 1]);
    assert.deepEqual(visibleIndices(xs, 40, 50), [3, 3]);
    assert.deepEqual(visibleIndices(xs, -20, -10), [0, 0]);
    assert.deepEqual(visibleIndices([5], 0, 10), [0, 0]);
  });
});

describe("nextIndex", () => {
  // Points 4 pixels apart.
  const from = (index) => (other) => Math.abs(other - index) * 4;
  test("is at least a stride away", () => {
    assert.equal(nextIndex(10, 1, 0, 100, from(10), 10), 13);
    assert.equal(nextIndex(10, -1, 0, 100, from(10), 10), 7);
    assert.equal(nextIndex(10, 1, 0, 100, from(10), 1), 11);
  });
  test("stays within the visible points", () => {
    assert.equal(nextIndex(99, 1, 0, 100, from(99), 10), 100);
    assert.equal(nextIndex(100, 1, 0, 100, from(100), 10), 100);
    assert.equal(nextIndex(1, -1, 1, 100, from(1), 10), 1);
  });
});

describe("zoomedRange", () => {
  test("zooms around the center", () => {
    assert.deepEqual(zoomedRange([0, 100], [0, 100], 50, 0.5), [25, 75]);
    assert.deepEqual(zoomedRange([0, 100], [0, 100], 20, 0.5), [10, 60]);
    assert.deepEqual(zoomedRange([40, 60], [0, 100], 50, 2), [30, 70]);
  });
  test("stays within the full range", () => {
    assert.deepEqual(zoomedRange([0, 40], [0, 100], 30, 2), [0, 50]);
  });
  test("is null once everything is visible", () => {
    assert.equal(zoomedRange([20, 80], [0, 100], 50, 2), null);
  });
});
