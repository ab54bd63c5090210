import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { csvField, toCsv } from "../../static/csv.js";

describe("CSV", () => {
  test("quotes commas, quotes and line breaks", () => {
    assert.equal(csvField("plain"), "plain");
    assert.equal(csvField('a,"b"'), '"a,""b"""');
    assert.equal(csvField("a\nb"), '"a\nb"');
  });
  test("leaves gaps and missing points empty", () => {
    assert.equal(
      toCsv(
        "step",
        ["a", "b,c"],
        [1, 2],
        [
          [0.5, null],
          [undefined, 0],
        ],
      ),
      'step,a,"b,c"\n1,0.5,\n2,,0\n',
    );
  });
  test("of a chart without points is its heading", () => assert.equal(toCsv("step", ["a"], [], [[]]), "step,a\n"));
});
