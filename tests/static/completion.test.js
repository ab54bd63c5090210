import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { completions, matchingWords, nextSuggestion, termBefore } from "../../static/completion.js";

describe("completion", () => {
  const vocabulary = {
    fields: ["name", "optimizer", "created"],
    metrics: ["val/accuracy"],
    figures: ["best", "last"],
    values: { optimizer: ["adam", "sgd", "my opt"] },
  };
  test("the term before the cursor", () => {
    assert.equal(termBefore(""), "");
    assert.equal(termBefore("status:failed opt"), "opt");
    assert.equal(termBefore("status:failed "), "");
    assert.equal(termBefore('tag:"two wo'), 'tag:"two wo');
    assert.equal(termBefore("(na"), "na");
  });
  test("words that begin with the text come first", () => {
    assert.deepEqual(matchingWords(["last", "stable", "Start"], "sta"), ["stable", "Start"]);
    assert.deepEqual(matchingWords(["instant", "stable"], '"STA'), ["stable", "instant"]);
    assert.deepEqual(matchingWords([], "a"), []);
  });
  test("fields have the operator that they take", () => {
    assert.deepEqual(completions("", vocabulary), ["name", "optimizer:", "created>", "val/accuracy>"]);
    assert.deepEqual(completions("-opt", vocabulary), ["-optimizer:"]);
  });
  test("values are quoted where they need it, and listed after commas", () => {
    assert.deepEqual(completions("optimizer:", vocabulary), ["optimizer:adam", "optimizer:sgd", 'optimizer:"my opt"']);
    assert.deepEqual(completions("optimizer!=sgd,a", vocabulary), ["optimizer!=sgd,adam"]);
    assert.deepEqual(completions("val/accuracy:", vocabulary), ["val/accuracy:any", "val/accuracy:none"]);
    assert.deepEqual(completions("unknown:", vocabulary), []);
  });
  test("metrics have figures, comparisons no completion", () => {
    assert.deepEqual(completions("val/accuracy.b", vocabulary), ["val/accuracy.best>"]);
    assert.deepEqual(completions("val/accuracy>0", vocabulary), []);
  });
  test("arrow keys wrap around", () => {
    assert.deepEqual(
      [-1, 0, 2].map((index) => nextSuggestion(index, "ArrowDown", 3)),
      [0, 1, 0],
    );
    assert.deepEqual(
      [-1, 0, 2].map((index) => nextSuggestion(index, "ArrowUp", 3)),
      [2, 2, 1],
    );
    assert.equal(nextSuggestion(0, "ArrowUp", 1), 0);
  });
});
