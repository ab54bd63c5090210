import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { csvField, toCsv } from "../../static/csv.js";

describe("CSV", () => {
  test("quotes commas, quotes and line breaks", () => {
    assert.equal(csvField("plain"), "plain");
    assert.equal(csvField('a,"b"'), '"a,""b"""');
    assert.equal(csvField("a\nb"), '"a\nb"');
  });
  test("puts an apostrophe before what a spreadsheet would calculate", () => {
    for (const text of ["=1+1", "+1+1", "-a", "@sum(a1)", "\t=1", "＝1", "--1", "+"])
      assert.equal(csvField(text), `'${text}`);
    assert.equal(csvField("\r=1"), `"'\n=1"`);
    for (const text of ["-1", "+.5e-3", "1-1", "", "a=1"]) assert.equal(csvField(text), text);
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
