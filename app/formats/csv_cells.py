"""CSV files: everything that Runyard writes for spreadsheets goes through here, since they read some texts as formulas.

The browser's own copies of charts follow the same rule (static/csv.js).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from app.contract.errors import printable

FORMULA: Final = re.compile(r"[=+\-@\t\n＝＋－＠]")
"""What a text begins with that a spreadsheet may calculate; the wide signs are those of East Asian keyboards."""
SLICE: Final = 2000
"""Rows that are in memory at once."""
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class CsvWriter:
    """Writes rows to a text file."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")

    def row(self, values: Iterable[Any]) -> None:
        """Write a row."""
        self._writer.writerow([cell(value) for value in values])

    def rows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write rows."""
        self._writer.writerows([cell(value) for value in row] for row in rows)

    def numbers(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows of numbers; ``cell`` has formatted whatever else is in them."""
        self._writer.writerows(rows)


class CsvChunks(CsvWriter):
    """Writes rows to memory, from where ``drain`` takes them in parts."""

    def __init__(self) -> None:
        self._buffer = io.StringIO()
        super().__init__(self._buffer)

    def drain(self) -> bytes:
        """What was written since the last call, as UTF-8."""
        content = self._buffer.getvalue().encode()
        self._buffer.seek(0)
        self._buffer.truncate()
        return content


def copied(file: Path) -> Iterator[bytes]:
    """Read a CSV file that was not written here, and write its cells as all others are."""
    lines = CsvChunks()
    with file.open(encoding="utf-8", newline="") as opened:
        for count, row in enumerate(csv.reader(opened), 1):
            lines.row(row)
            if count % SLICE == 0:
                yield lines.drain()
    yield lines.drain()


def cell(value: Any) -> Any:
    """Format a value for a cell; an apostrophe keeps spreadsheets from reading text as a formula.

    Lists become words, dicts JSON. Texts that are numbers stay as they are.
    """
    if isinstance(value, list):
        value = " ".join(map(str, value))
    elif isinstance(value, dict):
        return json.dumps(value) if value else ""
    if not isinstance(value, str):
        return value
    # csv does not quote a lone carriage return, which would begin another row.
    value = printable(value.replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{value}" if FORMULA.match(value) and not NUMBER.fullmatch(value) else value
