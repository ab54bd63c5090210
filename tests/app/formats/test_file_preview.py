"""Previews of files: the first part of a text or a table, and nothing for what is neither."""

from __future__ import annotations

import io
import json
import sys

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from app.formats.file_preview import HEAD_BYTES, MAX_COLUMNS, MAX_LINES, MAX_ROWS, parquet_head, preview_of

NAMES = ["a.json", "a.csv", "a.tsv", "a.txt", "a.bin", "a.md", "a"]


@given(st.sampled_from(NAMES), st.binary(max_size=300), st.booleans())
def test_any_content_has_a_preview_of_limited_size(path: str, head: bytes, whole: bool) -> None:
    found = preview_of(path, head, whole)
    assert len(found.columns) <= MAX_COLUMNS
    assert len(found.rows) <= MAX_ROWS
    assert "\0" not in found.text


@given(st.lists(st.lists(st.text("ab;\"' 1", max_size=5), min_size=2, max_size=4), min_size=2, max_size=20))
def test_a_table_is_read_as_it_was_written(rows: list[list[str]]) -> None:
    import csv

    written = io.StringIO()
    csv.writer(written, delimiter="\t").writerows(rows)
    found = preview_of("a.tsv", written.getvalue().encode())
    assert [list(found.columns), *map(list, found.rows)] == rows
    assert found.note == f"{len(rows) - 1} row{'s' if len(rows) != 2 else ''}."


def test_the_delimiter_of_a_table_is_the_one_that_its_first_line_has_most() -> None:
    found = preview_of("a.csv", b"x;y;z\n1,5;2;3\n")
    assert (found.columns, found.rows) == (["x", "y", "z"], [["1,5", "2", "3"]])


def test_of_a_long_table_the_first_rows_are_shown_and_no_half_one() -> None:
    lines = "".join(f"{number},{number}\n" for number in range(MAX_ROWS + 50))
    found = preview_of("a.csv", f"x,y\n{lines}".encode())
    assert (len(found.rows), found.note) == (MAX_ROWS, "The first 100 rows.")
    cut = preview_of("a.csv", b"x,y\n1,2\n3,", whole=False)
    assert (list(cut.rows), cut.note) == ([["1", "2"]], "The first 1 rows.")
    wide = preview_of("a.csv", ",".join("abcdefgh" * 10).encode() + b"\n")
    assert (len(wide.columns), wide.note) == (40, "0 rows. The first 40 of 80 columns.")


def test_json_is_indented_and_what_is_none_is_shown_as_it_is() -> None:
    assert preview_of("a.json", b'{"a":[1,{}]}').text == json.dumps({"a": [1, {}]}, indent=2)
    broken = preview_of("a.json", b'{"a":')
    assert (broken.kind, broken.text, broken.note) == ("text", '{"a":', "It is not valid JSON.")
    deep = preview_of("a.json", b"[" * 100_000)
    assert deep.note == "It is not valid JSON."
    cut = preview_of("a.json", b'{"a": 1', whole=False)
    assert (cut.kind, cut.note) == ("text", "The first 256 KiB.")


def test_what_log_table_writes_is_a_table() -> None:
    table = {"columns": ["n", "x"], "index": [0, 1], "data": [[1, 0.123456789], [None, {"a": 1}]]}
    found = preview_of("a.json", json.dumps(table).encode())
    assert (found.columns, found.rows) == (["n", "x"], [["1", "0.123457"], ["", '{"a": 1}']])
    assert found.note == "2 rows."
    many = preview_of("a.json", json.dumps({"columns": ["n"], "data": [[1]] * 2000}).encode())
    assert (len(many.rows), many.note) == (100, "The first 100 of 2,000 rows.")


def test_text_ends_at_a_whole_letter() -> None:
    assert preview_of("a.txt", "aü".encode()[:-1], whole=False).text == "a"
    assert preview_of("a.txt", "aü".encode()[:-1]).kind == "other"
    assert preview_of("a", b"\x00").kind == "other"
    long = preview_of("a.log", b"x\n" * (MAX_LINES + 1))
    assert (len(long.text), long.note) == (2 * MAX_LINES, "The first 2,000 lines.")
    assert preview_of("a.txt", b"x" * HEAD_BYTES, whole=False).note == "The first 256 KiB."


def test_parquet_needs_pyarrow_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "install pyarrow" in parquet_head(io.BytesIO()).note


def test_the_first_rows_of_parquet_are_shown() -> None:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": list(range(1500)), "y": ["a", None, "ä"] * 500}), file)
    file.seek(0)
    found = parquet_head(file)
    assert (found.columns, found.note) == (["x", "y"], "The first 100 of 1,500 rows.")
    assert [found.rows[0], found.rows[2], len(found.rows)] == [["0", "a"], ["2", "ä"], 100]
    assert parquet_head(io.BytesIO(b"none")).note.startswith("It cannot be read as Parquet: ")
    assert parquet_head(io.BytesIO(file.getvalue()[:-200])).note.startswith("It cannot be read as Parquet: ")


def test_the_head_of_a_parquet_file_without_rows_has_its_columns() -> None:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": pyarrow.array([], pyarrow.int64())}), file)
    found = parquet_head(file)
    assert (found.columns, found.rows) == (["x"], [])
