import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isHighlighted } from "../../static/legend-highlight.js";

describe("isHighlighted", () => {
  const series = ["r_1:loss", "r_2:loss", "loss"].map((id) => ({ id }));
  test("the curve itself and the curves of its run", () => {
    assert.equal(isHighlighted("r_1:loss", "r_1:loss", series), true);
    assert.equal(isHighlighted("r_1:loss", "r_1:accuracy", series), true);
    assert.equal(isHighlighted("r_2:loss", "r_1:loss", series), false);
    assert.equal(isHighlighted("loss", "r_1:loss", series), false);
  });
  test("every curve of a chart without the highlighted run", () => {
    assert.equal(isHighlighted("r_2:loss", "r_9:loss", series), true);
    assert.equal(isHighlighted("r_2:loss", "", series), true);
  });
  test("curves of the page's own run are separate", () => {
    const own = [{ id: "train/loss" }, { id: "val/loss" }];
    assert.equal(isHighlighted("val/loss", "train/loss", own), false);
  });
});
