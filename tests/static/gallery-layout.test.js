import assert from "node:assert/strict";
import { test } from "node:test";
import { columnsIn, GAP, inSight, moved, spritePosition, stretches } from "../../static/gallery-layout.js";

test("as many columns as fit, and one where none fits", () => {
  assert.equal(columnsIn(3 * 116 + 2 * GAP, 116), 3);
  assert.equal(columnsIn(3 * 116 + 2 * GAP - 1, 116), 2);
  assert.equal(columnsIn(20, 116), 1);
});

test("whatever is in sight is drawn, and no more than near it", () => {
  for (const top of [-500, 0, 163, 164, 99_000, 10_000_000]) {
    const [first, last] = inSight(top, 800, 156, 7, 60_000, 300);
    assert.ok(0 <= first && first <= last && last <= 60_000);
    assert.ok(last - first <= 7 * Math.ceil((800 + 600) / 164 + 2));
    for (let row = 0; row * 7 < 60_000; row += 1) {
      const y = row * 164;
      if (y + 156 > top && y < top + 800) assert.ok(first <= row * 7 && row * 7 < last, `row ${row} at ${top}`);
    }
  }
});

test("the first image of a sheet is at its top left, the last at its bottom right", () => {
  assert.deepEqual(spritePosition(0, 100), { x: 0, y: 0, width: 1000, height: 1000 });
  assert.deepEqual(spritePosition(99, 100), { x: 100, y: 100, width: 1000, height: 1000 });
  assert.deepEqual(spritePosition(3, 4).y, 0);
  assert.equal(spritePosition(3, 4).height, 100);
});

test("epochs with the same outcome are one stretch", () => {
  assert.deepEqual(stretches("0011"), [
    [0, 0.5, false],
    [0.5, 1, true],
  ]);
  assert.deepEqual(stretches(""), []);
  assert.equal(stretches("0101").length, 4);
});

test("keys move within the gallery", () => {
  assert.equal(moved("j", 0, 5, 12), 1);
  assert.equal(moved("ArrowDown", 3, 5, 12), 8);
  assert.equal(moved("ArrowDown", 10, 5, 12), 11);
  assert.equal(moved("k", 0, 5, 12), 0);
  assert.equal(moved("End", 3, 5, 12), 11);
  assert.equal(moved("x", 3, 5, 12), null);
});
