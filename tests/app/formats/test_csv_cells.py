"""Cells of CSV files: no text is a formula, and no text begins another row."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats.csv_cells import FORMULA, NUMBER, SLICE, CsvChunks, cell, copied

TEXT = st.text() | st.text('=+-@\t\r\n＝,"a1. e')


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (["a", "b"], "a b"),
        (["=a", "b"], "'=a b"),
        ({}, ""),
        ({"a": 1}, '{"a": 1}'),
        ("@x", "'@x"),
        ("＝1+1", "'＝1+1"),
        ("\r=1", "'\n=1"),
        ("a\r\nb", "a\nb"),
        ("-0.5e-3", "-0.5e-3"),
        ("+7", "+7"),
        ("-1+1", "'-1+1"),
        ("-", "'-"),
        ("a\ud800", "a?"),
        (-1, -1),
        (None, None),
        ("x", "x"),
    ],
)
def test_a_cell_says_what_it_said_and_is_no_formula(value: Any, written: Any) -> None:
    assert cell(value) == written


@given(rows=st.lists(st.lists(TEXT, min_size=1, max_size=4), max_size=5))
def test_whatever_is_written_as_many_rows_are_read_and_none_has_a_formula(rows: list[list[str]]) -> None:
    lines = CsvChunks()
    lines.rows(rows)
    content = lines.drain().decode()
    assert lines.drain() == b""
    found = list(csv.reader(io.StringIO(content, newline="")))
    assert [len(row) for row in found] == [len(row) for row in rows]
    for row, said in zip(found, rows, strict=True):
        for value, text in zip(row, said, strict=True):
            assert not FORMULA.match(value) or NUMBER.fullmatch(value)
            plain = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
            assert value in (plain, f"'{plain}")


def test_a_file_of_others_is_copied_cell_by_cell(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    count = SLICE + 5
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["train", str(i), "=cmd()", 'a,"b"\nc'] for i in range(count)])
    chunks = list(copied(file))
    assert len(chunks) == 2
    found = list(csv.reader(io.StringIO(b"".join(chunks).decode(), newline="")))
    assert found == [["train", str(i), "'=cmd()", 'a,"b"\nc'] for i in range(count)]
