import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { needsNewGrid, snapToGrid } from "../../static/x-grid.js";

/** Thirteen curves of `length` points at every thirteenth step, each shifted by one. */
const manyCurves = (length) =>
  Array.from({ length: 13 }, (_, shift) => {
    const xs = Array.from({ length }, (_, i) => 13 * i + shift);
    return [xs, xs.map(() => 1)];
  });

describe("snapToGrid", () => {
  test("leaves few curves, and few x values, exact", () => {
    const few = manyCurves(1000).slice(0, 12);
    assert.deepEqual(snapToGrid(few, [0, 13_000], [0, 13_000], true), { tables: few, fine: null });
    const short = manyCurves(100);
    assert.deepEqual(snapToGrid(short, [0, 1300], [0, 1300], true), { tables: short, fine: null });
    assert.deepEqual(snapToGrid([], [0, 1], [0, 1], true), { tables: [], fine: null });
  });
  test("moves points back to whole grid lines and drops none", () => {
    const curves = manyCurves(1000);
    const { tables, fine } = snapToGrid(curves, [0, 13_000], [0, 13_000], true);
    // 13,000 steps on 2,500 cells: whole steps of 5.
    assert.deepEqual(fine, { low: -13_000, high: 26_000, unit: 5 });
    assert.deepEqual(tables[0][0].slice(0, 4), [0, 10, 25, 35]);
    assert.ok(tables.every(([xs, values]) => xs.length === 1000 && values.length === 1000));
    const distinct = new Set(tables.flatMap(([xs]) => xs));
    assert.ok(distinct.size <= 2601, String(distinct.size));
  });
  test("is fine around the visible range and coarse elsewhere", () => {
    const { tables, fine } = snapToGrid(manyCurves(1000), [1000, 2000], [0, 13_000], true);
    // The visible 1,000 steps fit on 2,500 cells: every step is a grid line from 0 to 3,000.
    assert.deepEqual(fine, { low: 0, high: 3000, unit: 1 });
    const [xs] = tables[1];
    assert.ok(xs.includes(1002) && xs.includes(1990));
    assert.ok(xs.filter((x) => x > 3000).every((x) => x % 5 === 0));
  });
  test("moves only the first of a curve's points in a cell", () => {
    const curves = manyCurves(1000);
    curves[0] = [
      [6, 7, 8, 12],
      [1, 2, 3, 4],
    ];
    const { tables } = snapToGrid(curves, [0, 13_000], [0, 13_000], true);
    assert.deepEqual(tables[0], [
      [5, 7, 8, 10],
      [1, 2, 3, 4],
    ]);
  });
  test("has fractional lines where x is not whole", () => {
    const seconds = manyCurves(1000).map(([xs, values]) => [xs.map((x) => x / 100), values]);
    const { fine } = snapToGrid(seconds, [0, 130], [0, 130], false);
    assert.equal(fine.unit, 130 / 2500);
  });
});

describe("needsNewGrid", () => {
  const fine = { low: 0, high: 300, unit: 4 };
  test("never without a grid", () => assert.equal(needsNewGrid(null, [0, 1], true), false));
  test("beyond the fine part", () => {
    assert.equal(needsNewGrid(fine, [-1, 10_000], true), true);
    assert.equal(needsNewGrid(fine, [10, 301], true), true);
  });
  test("once the visible range needs less than half of the spacing", () => {
    const wide = { low: 0, high: 1e6, unit: 4 };
    assert.equal(needsNewGrid(wide, [0, 5000], true), false);
    assert.equal(needsNewGrid(wide, [0, 4999], true), true);
  });
  test("whole steps are as fine as it gets", () => {
    assert.equal(needsNewGrid({ ...fine, unit: 1 }, [10, 12], true), false);
    assert.equal(needsNewGrid({ ...fine, unit: 1 }, [10, 12], false), true);
  });
});
