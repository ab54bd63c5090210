"""Reads the classes and splits of images from tables: CSV files, or columns given by other formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from worker.data.importing.catalog import Catalog, CatalogMaker
from worker.data.importing.class_folders import image_places
from worker.data.importing.errors import ImportFailed
from worker.data.importing.files import Files
from worker.data.importing.names import IMAGE_ENDINGS, NO_PART, clean, part_named, text_of, unsafe
from worker.data.importing.skipped import Skipped

PATH: Final = ("path", "file", "filename", "image", "img")
LABEL: Final = ("label", "class", "category", "target")
SPLIT: Final = ("split", "subset", "set", "fold")
ENDINGS: Final = ("csv", "tsv")

LARGEST_TABLE: Final = 2**30
"""Bytes of a table that are still read into memory."""
_MOST_DELIMITERS: Final = (",", ";", "\t", "|")
_LONGEST_CELL: Final = 2**20


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a table. ``title``: its file; ``folder``: to which its paths are relative, ends with "/" or is ""."""

    title: str
    folder: str
    paths: Sequence[str]
    labels: Sequence[str]
    parts: Sequence[int]


def column(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    """Place of the column with one of these names, in any case; the first of `wanted` counts."""
    plain = [name.strip().lower() for name in names]
    return next((plain.index(each) for each in wanted if each in plain), None)


def missing_columns(title: str, names: Sequence[str]) -> ImportFailed:
    """The sentence for a table that cannot be used."""
    found = ", ".join(name.strip()[:40] for name in names[:20]) or "none"
    return ImportFailed(
        f"the table {title} needs a column {_or(PATH)} and a column {_or(LABEL)}; its columns are: {found}"
    )


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def part_of_table(title: str) -> int:
    """The split that a table's own name tells, such as "train.csv" or "labels_test.csv"."""
    stem = title.rpartition("/")[2].rpartition(".")[0]
    words = stem.replace("-", " ").replace("_", " ").replace(".", " ").split()
    found = {part_named(word) for word in words} - {NO_PART}
    return found.pop() if len(found) == 1 else NO_PART


def read_csv(title: str, raw: bytes) -> Table:
    """A table from a CSV file's content, with any usual delimiter. Raises ImportFailed."""
    text = text_of(raw)
    head = text.partition("\n")[0]
    delimiter = max(_MOST_DELIMITERS, key=lambda each: (head.count(each), -_MOST_DELIMITERS.index(each)))
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
    try:
        names = next(rows, [])
        path, label, split = (column(names, each) for each in (PATH, LABEL, SPLIT))
        if path is None or label is None:
            raise missing_columns(title, names)
        paths, labels, parts = [], [], []
        default = part_of_table(title)
        known: dict[str, str] = {}
        for row in rows:
            if not any(row):
                continue
            row += [""] * (len(names) - len(row))
            paths.append(row[path].strip())
            labels.append(known.setdefault(row[label].strip(), row[label].strip()))
            parts.append(default if split is None else part_named(row[split]))
    except csv.Error as error:
        raise ImportFailed(f"the table {title} cannot be read ({error})") from error
    return Table(title, title.rpartition("/")[0] + "/" * ("/" in title), paths, labels, parts)


def tables_at_root(files: Files) -> list[int]:
    """CSV files in the first folder that has more than one thing in it."""
    names = files.names
    tables = [place for place, name in enumerate(names) if name.lower().endswith((".csv", ".tsv"))]
    if not tables:
        return []
    least = min(names[place].count("/") for place in tables)
    first = [place for place in tables if names[place].count("/") == least]
    folder = names[first[0]].rpartition("/")[0]
    prefix = folder + "/" * bool(folder)
    inside = all(name.startswith(prefix) for name in names)
    return [place for place in first if names[place].rpartition("/")[0] == folder] if inside else []


def by_tables(files: Files, tables: Sequence[Table], skipped: Skipped) -> Catalog:
    """Images with the class that a table gives them. Raises ImportFailed."""
    names = {files.names[place]: place for place in image_places(files, skipped)}
    # Reported by `image_places` with a better reason than that they are missing.
    known = dict.fromkeys(files.names, 0)
    maker = CatalogMaker(files)
    used: dict[tuple[int, int], str] = {}
    repeated = contradicting = 0
    for table in tables:
        for path, label, part in zip(table.paths, table.labels, table.parts, strict=True):
            if why := unsafe(path):
                skipped.add(path or "(no path)", "unsafe", f"{why}, in {table.title}")
                continue
            place = _find(names, table.folder, path)
            if place is None:
                if _find(known, table.folder, path) is None:
                    skipped.add(path or "(no path)", "unreadable", f"is in {table.title}, but does not exist")
            elif not label:
                used.setdefault((place, part), "")
                skipped.add(files.names[place], "unlabeled", f"has no class in {table.title}")
            elif (place, part) in used:
                repeated += 1
                contradicting += used[place, part] not in ("", label)
            else:
                used[place, part] = label
                maker.add(place, label, part)
    in_tables = {place for place, _ in used}
    title = ", ".join(table.title for table in tables[:3]) + (", …" if len(tables) > 3 else "")
    for name, place in names.items():
        if place not in in_tables:
            skipped.add(name, "unlabeled", f"is not in {title}")
    if not len(maker):
        raise ImportFailed(
            f"no images found for the {sum(len(each.paths) for each in tables):,} rows of {title}; import the folder or"
            " archive that contains the table and its images"
        )
    notes = []
    if repeated:
        notes.append(f"{repeated:,} rows of {title} repeat an image; only the first row of each image is used")
    if contradicting:
        notes.append(f"{contradicting:,} rows of {title} contradict the class in the image's first row")
    has_splits = any(part != NO_PART for table in tables for part in table.parts)
    return maker.catalog(f"classes{' and splits' * has_splits} are read from {title}", notes)


def _find(names: dict[str, int], folder: str, path: str) -> int | None:
    for each in (path, path.replace("\\", "/")):
        full = folder + clean(each)
        for name in (full, *(f"{full}.{end}" for end in _GUESSED)):
            if name in names:
                return names[name]
    return None


_GUESSED: Final = tuple(end for end in ("jpg", "png", "jpeg", "webp", "tif", "bmp") if end in IMAGE_ENDINGS)
"""Endings of files that tables name without one."""
