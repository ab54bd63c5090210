"""Bars that show how many images of each class a dataset has in each split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.contract.dataset_import import ClassCount


@dataclass(frozen=True)
class ClassRow:
    """A class with its bar: ``parts`` are (split, where it begins, its width) in percent of the largest class."""

    count: ClassCount
    label: int
    parts: list[tuple[str, str, str]]
    few: bool


@dataclass(frozen=True)
class SourceRow:
    """A class of the source. ``row``: of what it became, shown once; ``merged``: what it was merged into, or "".

    With neither, it is skipped.
    """

    name: str
    row: ClassRow | None
    merged: str


def source_rows(names: Sequence[str], rows: Sequence[ClassRow]) -> list[SourceRow]:
    """A row for each of these classes of the source, of which ``rows`` were made."""
    made = {found: row for row in rows for found in row.count.found}
    # The row of merged classes stands at the one whose name they have, else at the first one.
    place: dict[str, str] = {}
    for name in names:
        if (row := made.get(name)) is not None and (row.count.name not in place or name == row.count.name):
            place[row.count.name] = name
    found = []
    for name in names:
        row = made.get(name)
        here = row is not None and place[row.count.name] == name
        found.append(SourceRow(name, row if here else None, row.count.name if row and not here else ""))
    return found


def class_rows(counts: Sequence[ClassCount], near_empty: Sequence[str]) -> list[ClassRow]:
    """A row for each class, in the order of the labels."""
    most = max((each.total for each in counts), default=0) or 1
    rows = []
    for label, each in enumerate(counts):
        at, parts = 0.0, []
        for name, images in (("train", each.train), ("validation", each.validation), ("test", each.test)):
            wide = 100 * images / most
            if images:
                parts.append((name, f"{at:.3f}%", f"{wide:.3f}%"))
            at += wide
        rows.append(ClassRow(each, label, parts, each.name in near_empty))
    return rows
