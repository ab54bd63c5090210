"""Writes a version of a dataset: in a hidden folder first, which appears as a whole or not at all."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from app.contract.dataset_import import Part, Report
from app.contract.own_datasets import DESCRIPTION, FORMAT, ITEMS, NEWEST, PARTS, TARGET, TENSORS, OwnDataset
from worker.data.importing.arrangement import Arrangement
from worker.data.importing.import_folder import remove, write_atomically

_CHUNK_BYTES: Final = 8 * 2**20
_RED, _GREEN, _BLUE, _HALF, _SHIFT = 19595, 38470, 7471, 32768, 16
"""Weights of ITU-R 601 in 1/65536, as Pillow has them: a gray image stays the same."""

Images = npt.NDArray[np.uint8]


def unfinished_folder(datasets: Path, import_id: str) -> Path:
    """Where an import writes a version."""
    return datasets / "own" / f".importing-{import_id}"


def write_version(
    datasets: Path,
    import_id: str,
    name: str,
    source: str,
    arrangement: Arrangement,
    report: Report,
    tick: Callable[[int], None],
) -> str:
    """Make the dataset and the version that is in use; returns its version. One that exists already is left as it is.

    tick: receives the number of images that are written. Raises OSError, and whatever `tick` raises; no half a version
    is left then.
    """
    folder = unfinished_folder(datasets, import_id)
    remove(folder)
    folder.mkdir(parents=True)
    try:
        described = _write(folder, name, source, arrangement, report, tick)
        target = datasets / "own" / name
        target.mkdir(exist_ok=True)
        if not (target / described.version / DESCRIPTION).exists():
            _move(folder, target / described.version)
        write_atomically(target / NEWEST, described.version.encode())
        _sync(target)
        _sync(target.parent)
    finally:
        remove(folder)
    return described.version


def _move(folder: Path, target: Path) -> None:
    try:
        os.rename(folder, target)
    except OSError as error:
        # Another import was as fast with the same version.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _write(
    folder: Path, name: str, source: str, arrangement: Arrangement, report: Report, tick: Callable[[int], None]
) -> OwnDataset:
    draft = arrangement.draft
    channels = 1 if arrangement.color == "gray" else 3
    digest = hashlib.sha256()
    digest.update(json.dumps([FORMAT, draft.side, channels, arrangement.classes]).encode())
    digest.update(json.dumps({part: len(arrangement.rows[part]) for part in PARTS}).encode())
    histogram = np.zeros((channels, 256), np.int64)
    with (folder / TENSORS).open("wb") as file:
        file.write(_header(arrangement, channels, draft.side))
        for part in PARTS:
            content = arrangement.labels[part].astype("<i8").tobytes()
            digest.update(content)
            file.write(content)
        done = 0
        for part in PARTS:
            for chunk in _images(arrangement, part, channels):
                digest.update(chunk.data)
                file.write(chunk.data)
                if part == "train":
                    for channel in range(channels):
                        histogram[channel] += np.bincount(chunk[:, channel].reshape(-1), minlength=256)
                done += len(chunk)
                tick(done)
        _flush(file.fileno())
    _write_items(folder / ITEMS, arrangement)
    mean, std = _moments(histogram)
    described = OwnDataset(
        name=name,
        version=digest.hexdigest()[:12],
        source=source,
        source_sha256=draft.source_sha256,
        created_at=time.time(),
        channels=channels,
        side=draft.side,
        classes=tuple(arrangement.classes),
        images={part: len(arrangement.rows[part]) for part in PARTS},
        mean=mean,
        std=std,
        bytes=sum(each.stat().st_size for each in folder.iterdir()),
        choices=arrangement.choices,
        report=report,
    )
    write_atomically(folder / DESCRIPTION, json.dumps(described.model_dump(mode="json"), ensure_ascii=False).encode())
    _sync(folder)
    return described


def _header(arrangement: Arrangement, channels: int, side: int) -> bytes:
    """The start of a safetensors file. The labels come first, so that they lie at multiples of 8 bytes."""
    header: dict[str, dict[str, object]] = {}
    start = 0
    for column in (TARGET, "images"):
        for part in PARTS:
            n = len(arrangement.rows[part])
            labels = column == TARGET
            shape = [n] if labels else [n, channels, side, side]
            stop = start + math.prod(shape) * (8 if labels else 1)
            header[f"{part}.{column}"] = {
                "dtype": "I64" if labels else "U8",
                "shape": shape,
                "data_offsets": [start, stop],
            }
            start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _images(arrangement: Arrangement, part: Part, channels: int) -> Iterator[Images]:
    """Images of a part, uint8 [n, C, H, W], a few at a time."""
    draft = arrangement.draft
    stored = draft.images()
    rows = arrangement.rows[part]
    step = max(1, _CHUNK_BYTES // (3 * draft.side**2))
    for start in range(0, len(rows), step):
        chunk = stored[rows[start : start + step]]
        if channels < draft.channels:
            chunk = _gray(chunk)
        elif channels > draft.channels:
            chunk = np.repeat(chunk, channels, axis=1)
        yield np.ascontiguousarray(chunk)


def _gray(images: Images) -> Images:
    exact = images.astype(np.uint32)
    gray = exact[:, 0] * _RED + exact[:, 1] * _GREEN + exact[:, 2] * _BLUE + _HALF
    return (gray >> _SHIFT).astype(np.uint8)[:, None]


def _moments(histogram: npt.NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, scaled to 0..1, from its number of pixels of each value."""
    means, stds = [], []
    for counts in histogram.tolist():
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        means.append(total / n / 255)
        # In whole numbers, so that it is 0 only if all pixels are equal.
        spread = n * squares - total * total
        stds.append(math.sqrt(spread) / n / 255 if spread else 1.0)
    return tuple(means), tuple(stds)


def _write_items(path: Path, arrangement: Arrangement) -> None:
    paths, classes = arrangement.draft.paths, arrangement.classes
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("split", "index", "label", "path"))
        for part in PARTS:
            both = zip(arrangement.rows[part].tolist(), arrangement.labels[part].tolist(), strict=True)
            writer.writerows((part, index, classes[label], paths[row]) for index, (row, label) in enumerate(both))
        file.flush()
        _flush(file.fileno())


def _flush(file: int) -> None:
    os.fsync(file)


def _sync(folder: Path) -> None:
    """Make the names in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
