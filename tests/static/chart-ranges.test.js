import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  ceilingOf,
  clippedRange,
  formatZoom,
  fullRange,
  paddedRange,
  parseZoom,
  stepIncrements,
} from "../../static/chart-ranges.js";

const plotOf = (xs, curves, kinds, scale = { min: null, max: null }) => ({
  data: [xs, ...curves],
  series: [{}, ...kinds.map((kind) => ({ kind }))],
  scales: { x: scale },
});

describe("paddedRange", () => {
  test("adds 5% on both sides", () => assert.deepEqual(paddedRange(-1, 9), [-1.5, 9.5]));
  test("of one value has 5% of it, or 0.5 around zero", () => {
    assert.deepEqual(paddedRange(2, 2), [1.9, 2.1]);
    assert.deepEqual(paddedRange(-2, -2), [-2.1, -1.9]);
    assert.deepEqual(paddedRange(0, 0), [0, 0.5]);
  });
  test("stays above zero and below all of something if its values do", () => {
    const accuracy = ceilingOf({ unit: "percent", title: "val/acc" });
    assert.deepEqual(paddedRange(0.1, 0.99, accuracy), [0.1 - 0.89 * 0.05, 1]);
    assert.deepEqual(paddedRange(0, 100, ceilingOf({ unit: "plain", title: "CPU, %" })), [0, 100]);
    assert.deepEqual(paddedRange(0, 10, ceilingOf({ unit: "plain", title: "disk read, MB/s" })), [0, 10.5]);
    // A script may log other values by the name of an accuracy.
    assert.deepEqual(paddedRange(-10, 90, accuracy), [-15, 95]);
  });
  test("without values is 0 to 1", () => assert.deepEqual(paddedRange(null, null), [0, 1]));
});

describe("clippedRange", () => {
  const xs = Array.from({ length: 100 }, (_, i) => i);
  test("ignores the outermost 2% at each end", () => {
    // 0 to 99 without 0, 1, 98 and 99: 2 to 97, and 5% of 95 on both sides.
    assert.deepEqual(clippedRange(plotOf(xs, [xs], ["plain"]), 0, 99), [0, 97 + 4.75]);
  });
  test("a spike does not count", () => {
    const values = xs.map((x) => (x === 50 ? 1e9 : 1));
    assert.deepEqual(clippedRange(plotOf(xs, [values], ["smooth"]), 1, 1e9), [0.95, 1.05]);
  });
  test("fewer than 20 visible values keep their full range", () => {
    const plot = plotOf(xs, [xs], ["plain"], { min: 0, max: 18 });
    assert.deepEqual(clippedRange(plot, 0, 18), [0, 18.9]);
    assert.deepEqual(clippedRange(plotOf([], [[]], ["plain"]), null, null), [0, 1]);
  });
  test("only visible values count", () => {
    const values = xs.map((x) => (x < 50 ? 1000 : 4));
    assert.deepEqual(clippedRange(plotOf(xs, [values], ["plain"], { min: 50, max: 99 }), 4, 1000), [3.8, 4.2]);
  });
  test("faint traces, band edges, gaps and missing points do not count", () => {
    const faint = xs.map(() => 500);
    const gaps = xs.map((x) => (x % 3 === 0 ? null : x % 3 === 1 ? undefined : 4));
    const plot = plotOf(xs, [faint, gaps, faint], ["faint", "smooth", "high"]);
    assert.deepEqual(clippedRange(plot, 4, 500), [3.8, 4.2]);
  });
});

describe("fullRange", () => {
  test("covers all curves, from 0 for steps and epochs", () => {
    assert.deepEqual(
      fullRange(
        [
          [10, 20, 100],
          [5, 6, 50],
        ],
        "step",
        false,
      ),
      [0, 100],
    );
    assert.deepEqual(fullRange([[10, 20, 100]], "epoch", false), [0, 100]);
    assert.deepEqual(fullRange([[-10, 20, 100]], "step", false), [-10, 100]);
    assert.deepEqual(fullRange([[1.7e12, 1.71e12, 1.72e12]], "milliseconds", false), [1.7e12, 1.72e12]);
    assert.deepEqual(
      fullRange(
        [
          [10, 20, 100],
          [5, 6, 50],
        ],
        "clock",
        false,
      ),
      [5, 100],
    );
  });
  test("starts at the first positive value of a logarithmic axis", () => {
    assert.deepEqual(fullRange([[0, 3, 100]], "step", true), [3, 100]);
    assert.deepEqual(fullRange([[0, 0, 0]], "step", true), [0.1, 1]);
    assert.deepEqual(fullRange([], "step", true), [0.1, 1]);
  });
  test("one point is in the middle of a range of 1", () => {
    assert.deepEqual(fullRange([[7, 7, 7]], "time", false), [6.5, 7.5]);
    assert.deepEqual(fullRange([[0, 0, 0]], "step", false), [-0.5, 0.5]);
  });
});

test("stepIncrements are whole unless fewer than three steps are visible", () => {
  assert.deepEqual(stepIncrements(null, 0, 0, 3).slice(0, 4), [1, 2, 5, 10]);
  assert.equal(stepIncrements(null, 0, 0, 2.9)[0], 0.01);
});

test("stepIncrements change a number of the size of the steps", () => {
  for (const low of [2 ** 52, 1e12, -(2 ** 53)]) {
    for (const width of [1, 100, 1e9]) {
      for (const increment of stepIncrements(null, 0, low, low + width)) assert.ok(low + increment > low);
    }
  }
});

describe("the zoom in the URL", () => {
  test("is read as a range, or as the width of one that follows the end", () => {
    assert.deepEqual(parseZoom("10,20.5"), { zoom: [10, 20.5], followsEnd: false });
    assert.deepEqual(parseZoom("last,40"), { zoom: [0, 40], followsEnd: true });
  });
  test("is ignored where it is missing, reversed, empty or no number", () => {
    for (const text of [null, "", "20,10", "5,5", "a,b", "10", "10,NaN"]) assert.equal(parseZoom(text).zoom, null);
  });
  test("is written with six digits, and wall-clock time with milliseconds", () => {
    assert.equal(formatZoom([1.23456789, 20], false, "step"), "1.23457,20");
    assert.equal(formatZoom([1_700_000_000.1234, 1_700_000_100], false, "clock"), "1700000000.123,1700000100");
    assert.equal(formatZoom([60, 100], true, "step"), "last,40");
  });
  test("has as many digits as a narrow range of large steps needs", () => {
    const range = [1_764_000_000_100, 1_764_000_000_200];
    assert.deepEqual(parseZoom(formatZoom(range, false, "step")).zoom, range);
  });
});
