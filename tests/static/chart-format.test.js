import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  formatDelta,
  formatValue,
  formatX,
  formatXTick,
  formatYTick,
  labeledLogTicks,
  tickLabels,
} from "../../static/chart-format.js";

describe("formatValue", () => {
  test("four significant digits", () => {
    assert.equal(formatValue(0.123456, ""), "0.1235");
    assert.equal(formatValue(12345.6, ""), "12350");
    assert.equal(formatValue(0, ""), "0");
    assert.equal(formatValue(-2.5, ""), "-2.5");
  });
  test("scientific notation for very small and very large values", () => {
    assert.equal(formatValue(0.00012345, ""), "1.23e-4");
    assert.equal(formatValue(123456, ""), "1.23e5");
    assert.equal(formatValue(-1e-9, ""), "-1.00e-9");
  });
  test("shares as percentages", () => {
    assert.equal(formatValue(0.98765, "percent"), "98.77%");
    assert.equal(formatValue(0, "percent"), "0.00%");
  });
  test("a dash for a missing value", () => {
    assert.equal(formatValue(null, ""), "–");
    assert.equal(formatValue(undefined, "percent"), "–");
  });
  test("NaN and infinity by name", () => {
    assert.equal(formatValue(NaN, ""), "NaN");
    assert.equal(formatValue(Infinity, ""), "Infinity");
  });
});

test("formatDelta has a sign, and percentage points without a unit", () => {
  assert.equal(formatDelta(0.5, ""), "+0.5");
  assert.equal(formatDelta(-0.5, ""), "−0.5");
  assert.equal(formatDelta(0, ""), "±0");
  assert.equal(formatDelta(0.0123, "percent"), "+1.23");
  assert.equal(formatDelta(-0.0123, "percent"), "−1.23");
});

describe("formatX", () => {
  test("steps and epochs", () => {
    assert.equal(formatX("step", 12345.4), "step 12,345");
    assert.equal(formatX("step", -5), "step −5");
    assert.equal(formatX("epoch", 1.23456), "epoch 1.235");
    assert.equal(formatX("epoch", -0.5), "epoch −0.5");
  });
  test("durations", () => {
    assert.deepEqual(
      [0, 1.234, 59.99, 60, 90, 61, 3540, 3600, 5400].map((seconds) => formatX("time", seconds)),
      ["0 s", "1.23 s", "1 min", "1 min", "1 min 30 s", "1 min 1 s", "59 min", "1 h", "1 h 30 min"],
    );
  });
  test("steps that are times are shown as times in the viewer's zone, and as they are", () => {
    const noon = new Date(2026, 4, 7, 12, 34, 56, 78).getTime();
    const shown = formatX("milliseconds", noon);
    assert.match(shown, /12:34:56\.078 · step /);
    assert.ok(shown.endsWith(`step ${noon.toLocaleString("en")}`), shown);
  });
  test("wall-clock time has seconds", () => {
    const noon = new Date(2026, 4, 7, 12, 34, 56).getTime() / 1000;
    assert.match(formatX("clock", noon), /12:34:56$/);
  });
});

describe("tick labels", () => {
  test("steps from ten thousand on in thousands", () => {
    assert.equal(formatXTick("step", 9999, 1), "9999");
    assert.equal(formatXTick("step", 12_500, 500), "12.5k");
    assert.equal(formatXTick("epoch", 20_000, 1), "20000");
    assert.equal(formatXTick("step", -5, 5), "−5");
    assert.equal(formatXTick("step", 2e12, 1e12, 1e6), "2E");
  });
  test("a clock tick at midnight names the day, others the time", () => {
    const midnight = new Date(2026, 4, 7).getTime() / 1000;
    const day = formatXTick("clock", midnight, 86_400);
    assert.equal(formatXTick("clock", midnight, 3600), day);
    assert.equal(formatXTick("clock", midnight + 5400, 1800), "01:30");
    assert.equal(formatXTick("clock", midnight + 5405, 5), "01:30:05");
    assert.equal(formatXTick("milliseconds", 1000 * midnight, 3_600_000), day);
    assert.equal(formatXTick("milliseconds", 1000 * midnight + 5_400_000, 1_800_000), "01:30");
    assert.equal(formatXTick("milliseconds", 1000 * midnight + 5_400_250, 50), "01:30:00.250");
  });
  test("values", () => {
    assert.equal(formatYTick("percent", 0.975), "97.5%");
    assert.equal(formatYTick("power", 0.001), "1e-3");
    assert.equal(formatYTick("", 0.00012), "1.2e-4");
    assert.equal(formatYTick("", 0), "0");
    assert.equal(formatYTick("power", 0), "0");
    assert.equal(formatYTick("", 25_000), "25k");
    assert.equal(formatYTick("", -25_000), "-25k");
    assert.equal(formatYTick("", 12_345_678), "1.23e7");
    assert.equal(formatYTick("", 0.30000000000000004), "0.3");
  });
  test("null stays null: uPlot's mark of a tick without a label", () => {
    const labels = tickLabels("step", "");
    assert.deepEqual(labels.x(null, [1, null, 10_000], 0, 0, 1), ["1", null, "10k"]);
    assert.deepEqual(labels.y(null, [0.5, null]), ["0.5", null]);
  });
});

describe("labeledLogTicks", () => {
  const ticks = (/** @type {number} */ from, /** @type {number} */ to) =>
    [0.01, 0.1, 1, 10, 100]
      .flatMap((power) => [1, 2, 3, 4, 5, 6, 7, 8, 9].map((digit) => digit * power))
      .filter((tick) => tick >= from && tick <= to);
  const labeled = (/** @type {number} */ from, /** @type {number} */ to) =>
    labeledLogTicks(null, ticks(from, to)).filter((tick) => tick !== null);
  test("powers of ten where there are two of them", () => {
    assert.deepEqual(labeled(0.03, 20), [0.1, 1, 10]);
    assert.deepEqual(labeled(1, 10), [1, 10]);
  });
  test("also twice and five times these on a shorter axis", () => {
    assert.deepEqual(labeled(0.02, 0.09), [0.02, 0.05]);
    assert.deepEqual(labeled(2, 30), [2, 5, 10, 20]);
  });
  test("all on the shortest, and the others keep their place", () => {
    assert.deepEqual(labeled(6, 9), [6, 7, 8, 9]);
    assert.deepEqual(labeledLogTicks(null, [9, 10, 20, 30]), [null, 10, 20, null]);
    assert.deepEqual(labeledLogTicks(null, []), []);
  });
});
