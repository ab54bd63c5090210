"""Which file each image of an own dataset was made from."""

from __future__ import annotations

import csv
import logging
from functools import lru_cache
from pathlib import Path

from app.contract.own_datasets import ITEMS, version_folder

logger = logging.getLogger("runyard.datasets")


def source_files(datasets: Path, key: str, part: str) -> tuple[str, ...]:
    """The path of each image of a split in the source of an own dataset, by index; empty for a built-in dataset.

    ``datasets``: the folder of all datasets. ``key``: NAME@VERSION.
    """
    name, _, version = key.partition("@")
    if not version:
        return ()
    file = version_folder(datasets, name, version) / ITEMS
    try:
        return _paths(file, file.stat().st_mtime_ns, part)
    except OSError as error:
        # The dataset was deleted; its predictions remain.
        logger.debug("%s: %s", file, error)
        return ()


@lru_cache(maxsize=4)
def _paths(file: Path, changed: int, part: str) -> tuple[str, ...]:
    """A version never changes, so it is read once; ``changed``: when another of this name was restored."""
    with file.open(encoding="utf-8", newline="") as opened:
        return tuple(row["path"] for row in csv.DictReader(opened) if row["split"] == part)
