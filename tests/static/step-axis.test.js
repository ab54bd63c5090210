import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  areMilliseconds,
  formatStep,
  formatStepTick,
  rememberSteps,
  stepAt,
  stepParameter,
  stepUnit,
} from "../../static/step-axis.js";

test("only steps that numbers cannot hold are drawn in millions", () => {
  assert.equal(stepUnit([]), 1);
  assert.equal(stepUnit([-5, Number.MAX_SAFE_INTEGER]), 1);
  assert.equal(stepUnit([0, Number.MAX_SAFE_INTEGER + 1]), 1e6);
  assert.equal(stepUnit([-(2 ** 63), 0]), 1e6);
});

test("steps are times if all of them are between 2001 and 2100", () => {
  assert.equal(areMilliseconds([1_764_000_000_000, 1_764_000_900_000]), true);
  assert.equal(areMilliseconds([0, 1_764_000_000_000]), false);
  assert.equal(areMilliseconds([1_764_000_000_000, 5e12]), false);
  assert.equal(areMilliseconds([]), false);
});

describe("stepAt", () => {
  test("is exact at the points of a curve, whatever their number is rounded to", () => {
    const exact = ["-9223372036854775808", "-7", "1764000000000000123", "9223372036854775807"];
    const step = exact.map(Number);
    rememberSteps({ step, exact });
    assert.deepEqual(
      step.map((each) => String(stepAt(each / 1e6, 1e6))),
      exact,
    );
  });
  test("is the nearest whole step elsewhere", () => {
    assert.equal(stepAt(12.4, 1), 12n);
    assert.equal(stepAt(-5, 1), -5n);
    assert.equal(stepAt(0.000_042, 1e6), 42n);
  });
  test("needs nothing to be remembered for small steps", () => {
    rememberSteps({ step: [1, 2] });
    assert.equal(stepAt(2, 1), 2n);
  });
});

test("a request's steps stay within 64 bits", () => {
  assert.equal(stepParameter(2 ** 63), "9223372036854775807");
  assert.equal(stepParameter(-(2 ** 64)), "-9223372036854775808");
  assert.equal(stepParameter(-5), "-5");
  assert.equal(stepParameter(1.764e18), "1764000000000000000");
});

test("formatStep has separators and a real minus", () => {
  assert.equal(formatStep(-(2n ** 63n)), "−9,223,372,036,854,775,808");
  assert.equal(formatStep(1_764_000_000_000n), "1,764,000,000,000");
});

describe("formatStepTick", () => {
  test("has a suffix from ten thousand on", () => {
    assert.equal(formatStepTick(9999, 1), "9999");
    assert.equal(formatStepTick(12_500, 500), "12.5k");
    assert.equal(formatStepTick(-20_000, 5000), "−20k");
    assert.equal(formatStepTick(1_500_000, 500_000), "1.5M");
    assert.equal(formatStepTick(8e18, 2e18), "8E");
    assert.equal(formatStepTick(-5, 5), "−5");
    assert.equal(formatStepTick(0, 5), "0");
  });
  test("tells ticks apart that lie close to each other", () => {
    assert.equal(formatStepTick(1_000_200_000, 100_000), "1.0002G");
    assert.equal(formatStepTick(1_000_300_000, 100_000), "1.0003G");
    assert.equal(formatStepTick(2.5, 0.5), "2.5");
  });
  test("is as precise as a number without a distance", () => {
    assert.equal(formatStepTick(12_345, 0), "12.345k");
  });
});
