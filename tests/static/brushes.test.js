import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { brushAfterKey, passesBrushes, percentWithin } from "../../static/brushes.js";

describe("brushes", () => {
  test("a line passes if it is within every brush", () => {
    assert.equal(passesBrushes(["10", "90"], [[0, 20], undefined]), true);
    assert.equal(
      passesBrushes(
        ["10", "90"],
        [
          [0, 20],
          [0, 50],
        ],
      ),
      false,
    );
    assert.equal(
      passesBrushes(
        ["20", "0"],
        [
          [0, 20],
          [0, 50],
        ],
      ),
      true,
    );
    assert.equal(passesBrushes(["", "5"], [[0, 20], undefined]), false);
    assert.equal(passesBrushes(["", "5"], [undefined, [0, 20]]), true);
  });
  test("keys start at an end and move by half a length", () => {
    assert.deepEqual(brushAfterKey(undefined, "ArrowUp"), [0, 20]);
    assert.deepEqual(brushAfterKey(undefined, "ArrowDown"), [80, 100]);
    assert.deepEqual(brushAfterKey([0, 20], "ArrowDown"), [10, 30]);
    assert.deepEqual(brushAfterKey([5, 25], "ArrowUp"), [0, 20]);
    assert.deepEqual(brushAfterKey([75, 95], "ArrowDown"), [80, 100]);
  });
  test("heights are limited to the axis", () => {
    const box = { top: 100, height: 200 };
    assert.deepEqual(
      [50, 100, 150, 300, 999].map((y) => percentWithin(y, box)),
      [0, 0, 25, 100, 100],
    );
  });
});
