"""Reads images or tables of images from Parquet files, as the Hugging Face hub has them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np

from worker.data.importing.catalog import SAMPLE, Catalog, class_name, sorted_classes
from worker.data.importing.errors import ImportFailed, Unusable
from worker.data.importing.files import Files, integers
from worker.data.importing.names import NO_PART, part_named
from worker.data.importing.picture import size_of
from worker.data.importing.skipped import Skipped
from worker.data.importing.tables import LABEL, PATH, SPLIT, Table, column, missing_columns, part_of_table
from worker.data.importing.tasks import BATCH_BYTES, LARGEST_FILE, BytesTask, Task, too_long

_ROWS: Final = 64
"""Rows that are read at once: they may have an image of many megabytes each."""
_IMAGE: Final = ("image", "img", *PATH)


def _library() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportFailed(
            'Parquet files need the package pyarrow; install it with pip install "runyard[parquet]"'
        ) from error
    return pyarrow.parquet


@dataclass(frozen=True, eq=False)
class ParquetFile:
    """One file. ``name``: its path within the source. ``image``, ``label``, ``split``: its columns."""

    path: Path
    name: str
    image: str
    label: str
    split: str | None
    class_names: list[str] | None
    has_bytes: bool

    def rows(self, columns: list[str], size: int) -> Iterator[dict[str, list[Any]]]:
        """The columns of `size` rows at a time. Raises ImportFailed."""
        library = _library()
        try:
            with library.ParquetFile(self.path) as file:
                for batch in file.iter_batches(batch_size=size, columns=columns):
                    yield batch.to_pydict()
        except (ValueError, OSError) as error:  # pyarrow's own exceptions are among these
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ImportFailed(f"{self.name} is damaged or truncated") from error

    def label_text(self, value: object) -> str:
        """Name of a class; "" if the row has none."""
        if value is None:
            return ""
        if self.class_names is not None and isinstance(value, int):
            return self.class_names[value] if 0 <= value < len(self.class_names) else ""
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    @property
    def part(self) -> int:
        """The split that the name of the file or of a folder tells."""
        folders = [part_named(each) for each in self.name.split("/")[:-1]]
        named = part_of_table(self.name)
        return named if named != NO_PART else next((each for each in reversed(folders) if each != NO_PART), NO_PART)


def open_parquet(path: Path, name: str) -> ParquetFile:
    """Look at a file's columns. Raises ImportFailed, OSError."""
    library = _library()
    try:
        with library.ParquetFile(path) as file:
            schema = file.schema_arrow
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ImportFailed(f"{name} is not a Parquet file, or is damaged") from error
    columns: list[str] = list(schema.names)
    image, label, split = (column(columns, each) for each in (_IMAGE, LABEL, SPLIT))
    if image is None or label is None:
        raise missing_columns(name, columns)
    kind = str(schema.field(columns[image]).type)
    return ParquetFile(
        path,
        name,
        columns[image],
        columns[label],
        None if split is None else columns[split],
        _class_names(schema.metadata, columns[label]),
        "binary" in kind,
    )


def _class_names(metadata: dict[bytes, bytes] | None, label: str) -> list[str] | None:
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    return [str(each) for each in names] if isinstance(names, list) else None


def read_table(file: ParquetFile) -> Table:
    """A table of paths. Raises ImportFailed, OSError."""
    paths: list[str] = []
    labels: list[str] = []
    parts: list[int] = []
    wanted = [file.image, file.label, *([file.split] if file.split else [])]
    for rows in file.rows(wanted, 10_000):
        paths += ["" if each is None else str(each) for each in rows[file.image]]
        labels += [file.label_text(each) for each in rows[file.label]]
        parts += [part_named(str(each)) for each in rows[file.split]] if file.split else []
    folder = file.name.rpartition("/")[0]
    return Table(file.name, folder + "/" * bool(folder), paths, labels, parts or [file.part] * len(paths))


def by_parquet(parquets: list[ParquetFile], skipped: Skipped) -> Catalog:
    """Images whose bytes are in the files. Raises ImportFailed, OSError."""
    classes: dict[str, int] = {}
    labels, parts, rows_of = array("q"), array("q"), array("q")
    paths: list[str] = []
    starts = []
    for file in parquets:
        starts.append(len(rows_of))
        number = 0
        for rows in file.rows([file.label, *([file.split] if file.split else [])], 10_000):
            splits = rows[file.split] if file.split else [None] * len(rows[file.label])
            for value, split in zip(rows[file.label], splits, strict=True):
                label = class_name(file.label_text(value))
                path = f"{file.name}#{number}"
                number += 1
                if not label:
                    skipped.add(path, "unlabeled", "has no class")
                    rows_of.append(-1)
                    continue
                rows_of.append(len(paths))
                paths.append(path)
                labels.append(classes.setdefault(label, len(classes)))
                parts.append(file.part if split is None else part_named(str(split)))
    names, sorted_labels = sorted_classes(list(classes), integers(labels))
    rows_by_file = np.split(integers(rows_of), starts[1:])
    return Catalog(
        "images and classes in Parquet files",
        paths,
        sorted_labels.astype(np.int32),
        integers(parts).astype(np.int8),
        names,
        3,
        [],
        lambda: _typical(parquets),
        lambda: _tasks(parquets, [each.tolist() for each in rows_by_file]),
    )


def _content(value: object) -> bytes | Unusable:
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes) or not value:
        return Unusable("empty", "has no content")
    return value if len(value) <= LARGEST_FILE else too_long()


def _typical(parquets: list[ParquetFile]) -> int | None:
    sides: list[int] = []
    each = max(1, SAMPLE // len(parquets))
    for file in parquets[:SAMPLE]:
        seen = 0
        for rows in file.rows([file.image], _ROWS):
            for value in rows[file.image]:
                content = _content(value)
                size = size_of(BytesIO(content)) if isinstance(content, bytes) else None
                sides += [min(size)] if size is not None else []
            seen += len(rows[file.image])
            if seen >= each:
                break
    return int(np.median(sides)) if sides else None


def _tasks(parquets: list[ParquetFile], rows_by_file: list[list[int]]) -> Iterator[Task]:
    for file, places in zip(parquets, rows_by_file, strict=True):
        number = 0
        rows: list[int] = []
        contents: list[bytes | Unusable] = []
        size = 0
        for batch in file.rows([file.image], _ROWS):
            for value in batch[file.image]:
                if places[number] >= 0:
                    content = _content(value)
                    rows.append(places[number])
                    contents.append(content)
                    size += len(content) if isinstance(content, bytes) else 0
                number += 1
                if size >= BATCH_BYTES:
                    yield BytesTask(rows, contents)
                    rows, contents, size = [], [], 0
        if rows:
            yield BytesTask(rows, contents)


def parquet_places(files: Files) -> list[int]:
    """Parquet files, in the order of their paths."""
    found = [place for place, name in enumerate(files.names) if name.lower().endswith(".parquet")]
    return sorted(found, key=lambda place: files.names[place])
