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
