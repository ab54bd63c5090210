"""What a page shows of a file: its picture or sound, or the first part of its text or table. Nothing is executed."""

from __future__ import annotations

import codecs
import csv
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, Any, Final

from app.contract.run_files import FileKind, kind_of, suffix_of

HEAD_BYTES: Final = 2**18
"""What is read of a text."""
MAX_LINES: Final = 2000
MAX_ROWS: Final = 100
MAX_COLUMNS: Final = 40
MAX_CELL: Final = 200
PARQUET_BYTES: Final = 2**28
"""Larger Parquet files are not opened."""


@dataclass(frozen=True)
class Preview:
    """``kind``: how to show it. ``text``, or ``columns`` and ``rows`` of a table; ``note``: a sentence beneath."""

    kind: FileKind
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""


def needs_head(path: str) -> bool:
    """Whether `preview_of` needs the beginning of the file; pictures, sounds and PDF files are shown without."""
    return kind_of(path) not in ("image", "audio", "pdf", "parquet")


def preview_of(path: str, head: bytes = b"", whole: bool = True) -> Preview:
    """What to show of a file that begins with ``head``; ``whole``: there is no more. For Parquet: `parquet_head`."""
    kind = kind_of(path)
    if not needs_head(path):
        return Preview(kind)
    text = _decoded(head, whole)
    if text is None:
        return Preview("other")
    if kind == "json":
        return _json(text) if whole else _text(text, whole)
    if kind == "csv":
        return _csv(text, "\t" if suffix_of(path) == ".tsv" else "", whole)
    return _text(text, whole)


def _decoded(head: bytes, whole: bool) -> str | None:
    """UTF-8 text, without a letter that is cut at the end; None if it is something else."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=whole)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _text(text: str, whole: bool) -> Preview:
    lines = text.splitlines(keepends=True)
    if len(lines) > MAX_LINES:
        return Preview("text", "".join(lines[:MAX_LINES]), note=f"The first {MAX_LINES:,} lines.")
    return Preview("text", text, note="" if whole else f"The first {HEAD_BYTES // 2**10} KiB.")


# Tables --------------------------------------------------------------------------------------------------------------


def _json(text: str) -> Preview:
    try:
        value = json.loads(text)
        written = json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return replace(_text(text, True), note="It is not valid JSON.")
    if isinstance(value, dict) and {"columns", "data"} <= set(value) <= {"columns", "data", "index"}:
        columns, rows = value["columns"], value["data"]
        # What mlflow.log_table writes.
        if isinstance(columns, list) and isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            return _table("json", columns, rows[:MAX_ROWS], len(rows))
    return replace(_text(written, True), kind="json")


def _csv(text: str, delimiter: str, whole: bool) -> Preview:
    lines = text.splitlines()
    # The last line may be cut.
    lines = lines if whole or len(lines) < 2 else lines[:-1]
    first = lines[0] if lines else ""
    delimiter = delimiter or max(",;\t", key=first.count)
    try:
        rows = list(islice(csv.reader(lines, delimiter=delimiter), MAX_ROWS + 2))
    except csv.Error:
        return _text(text, whole)
    if not rows:
        return Preview("text", text)
    more = not whole or len(rows) > MAX_ROWS + 1
    return _table("csv", rows[0], rows[1 : MAX_ROWS + 1], None if more else len(rows) - 1)


def _table(kind: FileKind, columns: Sequence[Any], rows: Sequence[Sequence[Any]], total: int | None) -> Preview:
    """The first rows of a table; ``total``: number of all rows, if known."""
    if total is None:
        note = f"The first {len(rows):,} rows."
    elif total > len(rows):
        note = f"The first {len(rows):,} of {total:,} rows."
    else:
        note = f"{total:,} row{'s' if total != 1 else ''}."
    width = max([len(columns), *map(len, rows)])
    if width > MAX_COLUMNS:
        note += f" The first {MAX_COLUMNS} of {width:,} columns."
    return Preview(kind, "", [_cell(each) for each in columns[:MAX_COLUMNS]], [_row(row) for row in rows], note)


def _row(row: Sequence[Any]) -> list[str]:
    return [_cell(each) for each in row[:MAX_COLUMNS]]


def _cell(value: Any) -> str:
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}…"


def parquet_head(file: IO[bytes]) -> Preview:
    """The first rows of a Parquet file, if pyarrow is installed beside Runyard; otherwise a sentence."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        return Preview("parquet", note="To see its first rows here, install pyarrow beside Runyard.")
    try:
        opened = parquet.ParquetFile(file)
        names = list(opened.schema_arrow.names)
        batch = next(opened.iter_batches(batch_size=MAX_ROWS, columns=names[:MAX_COLUMNS]), None)
        found = [] if batch is None else batch.to_pylist()
        count = int(opened.metadata.num_rows)
    except (ValueError, OSError) as error:
        # What pyarrow raises for a file that is damaged or encrypted is one of these.
        return Preview("parquet", note=f"It cannot be read as Parquet: {str(error)[:200]}.")
    rows = [[row.get(name) for name in names[:MAX_COLUMNS]] for row in found]
    return _table("parquet", names, rows, count)
