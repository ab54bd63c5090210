import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  appendPoints,
  canAppend,
  exponentialAverage,
  hasAxis,
  isTimeAxis,
  lowerBound,
  needsFinerPoints,
  ownerOf,
  rawTrace,
  smoothedTrace,
  stepRange,
  stepToX,
  timeToX,
  xValues,
} from "../../static/curves.js";

/** A curve with a point per step from 1 on, one second apart from 100. */
const curve = (values, more = {}) => ({
  step: values.map((_, i) => i + 1),
  value: values,
  time: values.map((_, i) => 100 + i),
  per_epoch: 2,
  stretches: [[100, 0]],
  ...more,
});

const assertClose = (actual, expected) => {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) => {
    if (value === null || expected[i] === null) assert.equal(value, expected[i]);
    else assert.ok(Math.abs(value - expected[i]) < 1e-9, `${value} is not ${expected[i]} at ${i}`);
  });
};

describe("exponentialAverage", () => {
  test("is bias-corrected: the first value is the first point", () => {
    // 1; (0.5·0.5·1 + 0.5·3)/(0.25 + 0.5) = 1.75/0.75; (0.875 + 0.5·2)/(0.375 + 0.5) = 1.875/0.875
    assertClose(exponentialAverage([1, 3, 2], 0.5), [1, 1.75 / 0.75, 1.875 / 0.875]);
  });
  test("skips gaps without forgetting what came before them", () => {
    assertClose(exponentialAverage([1, null, 3], 0.5), [1, null, 1.75 / 0.75]);
  });
  test("with weight 0 changes nothing", () => assert.deepEqual(exponentialAverage([4, -2, 7], 0), [4, -2, 7]));
  test("of nothing, of one point and of gaps alone", () => {
    assert.deepEqual(exponentialAverage([], 0.9), []);
    assertClose(exponentialAverage([5], 0.9), [5]);
    assert.deepEqual(exponentialAverage([null, null], 0.9), [null, null]);
  });
  test("of a constant is the constant", () => assertClose(exponentialAverage([2, 2, 2, 2], 0.99), [2, 2, 2, 2]));
});

describe("lowerBound", () => {
  test("finds the first value that is not below", () => {
    const sorted = [1, 3, 3, 7];
    assert.deepEqual(
      [0, 1, 2, 3, 4, 7, 8].map((value) => lowerBound(sorted, value)),
      [0, 0, 1, 1, 3, 3, 4],
    );
  });
  test("of an empty list is 0", () => assert.equal(lowerBound([], 5), 0));
  test("compares mapped values", () =>
    assert.equal(
      lowerBound([1, 2, 3], 15, (value) => value * 10),
      1,
    ));
});

describe("appendPoints", () => {
  test("appends to an empty curve", () => {
    const empty = curve([]);
    appendPoints(empty, { step: [1, 2], value: [0.5, null], time: [100, 101] }, 0);
    assert.deepEqual(
      [empty.step, empty.value, empty.time],
      [
        [1, 2],
        [0.5, null],
        [100, 101],
      ],
    );
    assert.equal(empty.coarse, undefined);
  });
  test("puts points that come late where their steps belong", () => {
    const late = curve([10, 20, 30]);
    appendPoints(late, { step: [-4, 2, 2, 9], value: [1, 2, 3, 4], time: [200, 201, 202, 203] }, 0);
    assert.deepEqual(late.step, [-4, 1, 2, 2, 2, 3, 9]);
    assert.deepEqual(late.value, [1, 10, 20, 2, 3, 30, 4]);
    assert.deepEqual(late.time, [200, 100, 101, 201, 202, 102, 203]);
  });
  test("a thinned-out curve takes only points after its last one", () => {
    const [late, next] = [2, 4].map((step) => ({ step: [step], value: [0], time: [0] }));
    assert.equal(canAppend(curve([1, 2, 3], { coarse: true }), late), false);
    assert.equal(canAppend(curve([1, 2, 3], { coarse: true }), next), true);
    assert.equal(canAppend(curve([1, 2, 3]), late), true);
    assert.equal(canAppend(curve([], { coarse: true }), late), true);
  });
  test("continues the smoothed trace from its state", () => {
    const even = { step: [1], value: [1], time: [100], total: 0.5, share: 0.5 };
    const long = curve([1], { coarse: true, even, weight: 0.5 });
    appendPoints(long, { step: [2], value: [3], time: [101] }, 0.5);
    assertClose(long.even.value, [1, 1.75 / 0.75]);
    assert.deepEqual([long.even.step, long.even.total, long.even.share], [[1, 2], 1.75, 0.75]);
    assert.deepEqual(long.value, [1, 3]);
  });
  test("thins out more than 20,000 points to at most 5,000 and keeps extremes", () => {
    const long = curve(Array.from({ length: 20_000 }, (_, i) => (i === 7_000 ? 99 : i === 7_001 ? -99 : i % 5)));
    appendPoints(long, { step: [20_001], value: [1], time: [20_100] }, 0);
    assert.equal(long.coarse, true);
    assert.ok(long.step.length <= 5_000 && long.step.length > 2_500, String(long.step.length));
    assert.deepEqual([Math.max(...long.value), Math.min(...long.value)], [99, -99]);
    assert.equal(long.step[long.value.indexOf(99)], 7_001);
    assert.deepEqual(
      long.step,
      [...long.step].sort((a, b) => a - b),
    );
    assert.equal(long.even, undefined);
  });
  test("smooths a curve from all of its points before it is thinned out", () => {
    const long = curve(Array.from({ length: 20_000 }, () => 3));
    appendPoints(long, { step: [20_001], value: [3], time: [20_100] }, 0.9);
    assert.equal(long.weight, 0.9);
    assert.ok(long.even.value.every((value) => Math.abs(value - 3) < 1e-9));
    assert.ok(Math.abs(long.even.total / long.even.share - 3) < 1e-9);
  });
  test("never thins out a mean", () => {
    const values = Array.from({ length: 20_000 }, () => 1);
    const mean = curve(values, { low: values, high: values });
    appendPoints(mean, { step: [20_001], value: [1], time: [20_100] }, 0);
    assert.equal(mean.step.length, 20_001);
  });
  test("survives gaps in a curve that is thinned out", () => {
    const long = curve(Array.from({ length: 20_000 }, () => null));
    appendPoints(long, { step: [20_001], value: [1], time: [20_100] }, 0);
    assert.deepEqual([...new Set(long.value)], [null, 1]);
  });
});

describe("finer points", () => {
  const part = { step: [3, 4, 5], value: [30, 40, 50], time: [102, 103, 104], first: 3, last: 5, weight: 0.5 };
  const overview = () => curve([1, 2, 3, 4, 5, 6], { coarse: true, part });

  test("replace the overview's points where they are", () => {
    assert.deepEqual(rawTrace(overview()).value, [1, 2, 30, 40, 50, 6]);
    assert.deepEqual(rawTrace(overview()).step, [1, 2, 3, 4, 5, 6]);
  });
  test("a curve without a part is its own trace", () => {
    const complete = curve([1, 2]);
    assert.equal(rawTrace(complete), complete);
  });
  test("a complete curve is smoothed here", () => {
    assertClose(smoothedTrace(curve([1, 3]), 0.5).value, [1, 1.75 / 0.75]);
  });
  test("an overview without a smoothed trace of this weight cannot be smoothed", () => {
    const even = { step: [1], value: [1], time: [100], total: 1, share: 1 };
    assert.equal(smoothedTrace(overview(), 0.5), null);
    assert.equal(smoothedTrace({ ...overview(), even, weight: 0.9 }, 0.5), null);
  });
  test("a complete part is smoothed from the average before it", () => {
    const even = { ...curve([10, 10, 10, 10, 10, 10]), total: 1, share: 1 };
    const smooth = smoothedTrace({ ...overview(), even, weight: 0.5 }, 0.5);
    // From total 10 and share 1: (5 + 15)/(0.5 + 0.5) = 20, then (10 + 20)/1 = 30, then (15 + 25)/1 = 40.
    assertClose(smooth.value, [10, 10, 20, 30, 40, 10]);
  });
  test("a thinned-out part without its own smoothed trace leaves the overview's", () => {
    const even = { ...curve([10, 10, 10, 10, 10, 10]), total: 1, share: 1 };
    const coarse = { ...overview(), part: { ...part, coarse: true }, even, weight: 0.5 };
    assert.equal(smoothedTrace(coarse, 0.5), even);
  });
  test("are needed outside of the part, or once the view is half as wide as a thinned-out part", () => {
    assert.equal(needsFinerPoints(curve([1, 2, 3]), 1, 3, 0), false);
    assert.equal(needsFinerPoints(curve([1, 2, 3], { coarse: true }), 1, 3, 0), true);
    assert.equal(needsFinerPoints(curve([], { coarse: true }), 1, 3, 0), false);
    assert.equal(needsFinerPoints(curve([1, 2, 3], { coarse: true, low: [] }), 1, 3, 0), false);
    assert.equal(needsFinerPoints(overview(), 3, 5, 0.5), false);
    assert.equal(needsFinerPoints(overview(), 2, 5, 0.5), true);
    assert.equal(needsFinerPoints(overview(), 7, 9, 0), false);
    const coarse = { ...overview(), part: { ...part, first: 1, last: 6, coarse: true } };
    assert.equal(needsFinerPoints(coarse, 1, 6, 0.5), false);
    assert.equal(needsFinerPoints(coarse, 1, 6, 0.9), true);
    assert.equal(needsFinerPoints(coarse, 2, 4, 0), true);
  });
});

describe("ownerOf", () => {
  test("is the run or the group before the colon", () => {
    assert.equal(ownerOf("r_12ab:train/loss"), "r_12ab");
    assert.equal(ownerOf("earlier:loss"), "earlier");
    assert.equal(ownerOf("g3:val/accuracy"), "g3");
    assert.equal(ownerOf("train/loss"), "");
    assert.equal(ownerOf("custom:loss"), "");
    assert.equal(ownerOf(""), "");
  });
});

describe("x axes", () => {
  test("time and clock are in seconds", () => {
    assert.deepEqual(["step", "epoch", "time", "clock"].map(isTimeAxis), [false, false, true, true]);
  });
  test("a mean of runs has no wall-clock time", () => {
    const mean = curve([1], { stretches: [[0, 0]] });
    assert.equal(hasAxis(mean, "clock"), false);
    assert.equal(hasAxis(mean, "time"), true);
    assert.equal(hasAxis(curve([1]), "clock"), true);
    assert.equal(hasAxis(curve([1], { stretches: [] }), "clock"), true);
  });
  test("a pause has no width on the time axis", () => {
    // Trained from 100 to 110, paused, trained on from 200.
    const paused = curve([1], {
      stretches: [
        [100, 0],
        [200, 10],
      ],
    });
    assert.deepEqual(
      [100, 105, 110, 150, 200, 203].map((time) => timeToX(paused, "time", time)),
      [0, 5, 10, 10, 10, 13],
    );
    assert.equal(timeToX(paused, "clock", 150), 150);
    assert.equal(timeToX(paused, "time", 90), -10);
  });
  test("without intervals time counts from the first point", () => {
    assert.equal(timeToX(curve([1, 2], { stretches: [] }), "time", 103), 3);
    assert.equal(timeToX(curve([], { stretches: [] }), "time", 103), 0);
  });
  test("x values by axis; points of one time are kept apart", () => {
    const three = curve([1, 2, 3], { time: [100, 100, 101] });
    assert.deepEqual(xValues(three, three, "step"), [1, 2, 3]);
    assert.deepEqual(xValues(three, three, "epoch"), [0.5, 1, 1.5]);
    assertClose(xValues(three, three, "time"), [0, 1e-6, 1]);
    const unknown = curve([1, 2], { per_epoch: null });
    assert.deepEqual(xValues(unknown, unknown, "epoch"), [1, 2]);
    assert.deepEqual(xValues(curve([]), curve([]), "clock"), []);
  });
  test("the x of a step", () => {
    const three = curve([1, 2, 3], { step: [10, 20, 30] });
    assert.equal(stepToX(three, "step", 15), 15);
    assert.equal(stepToX(three, "epoch", 15), 7.5);
    assert.equal(stepToX(three, "time", 15), 1);
    assert.equal(stepToX(three, "clock", 30), 102);
    assert.equal(stepToX(three, "time", 31), null);
    assert.equal(stepToX({ ...three, per_epoch: null }, "epoch", 15), null);
    assert.equal(stepToX({ ...three, stretches: [[0, 0]] }, "clock", 10), null);
  });
  test("the steps of a visible range", () => {
    const three = curve([1, 2, 3], { step: [10, 20, 30] });
    assert.deepEqual(stepRange(three, "step", [10.5, 19.2]), [10, 20]);
    assert.deepEqual(stepRange(three, "epoch", [1.2, 1.7]), [2, 4]);
    assert.deepEqual(stepRange(three, "time", [0.5, 1.5]), [10, 30]);
    assert.deepEqual(stepRange(three, "clock", [0, 1e9]), [10, 30]);
    assert.deepEqual(stepRange(curve([]), "time", [0, 1]), [0, 0]);
  });
});
