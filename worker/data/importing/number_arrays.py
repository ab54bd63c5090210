"""Reads images from arrays of numbers: MNIST's IDX files, and NumPy's .npz; in chunks, never as a whole."""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from worker.data.importing.catalog import Catalog, sorted_classes
from worker.data.importing.errors import ImportFailed
from worker.data.importing.files import Files
from worker.data.importing.names import NO_PART, TEST, TRAIN, VALIDATION
from worker.data.importing.tasks import BATCH, PixelsTask, Task

_CHUNK_BYTES: Final = 2 * 2**20
_MOST_LABEL_BYTES: Final = 256 * 2**20

_IDX_IMAGES: Final = ("-images-idx3-ubyte", "-images.idx3-ubyte")
_IDX_LABELS: Final = ("-labels-idx1-ubyte", "-labels.idx1-ubyte")
_NPZ: Final = (
    ("train_images", "train_labels", TRAIN),
    ("val_images", "val_labels", VALIDATION),
    ("test_images", "test_labels", TEST),
    ("x_train", "y_train", TRAIN),
    ("x_val", "y_val", VALIDATION),
    ("x_valid", "y_valid", VALIDATION),
    ("x_test", "y_test", TEST),
    ("images", "labels", NO_PART),
    ("x", "y", NO_PART),
)


@dataclass(frozen=True, eq=False)
class ArrayFile:
    """An array [N, ...] in a file. ``open``: at its first value."""

    title: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    def chunks(self) -> Iterator[npt.NDArray[Any]]:
        """The array in parts of [n, ...]. Raises ImportFailed if the file is truncated."""
        row = self.dtype.itemsize * math.prod(self.shape[1:])
        rows = max(1, min(BATCH, _CHUNK_BYTES // max(row, 1)))
        with self.open() as file:
            for start in range(0, self.shape[0], rows):
                n = min(rows, self.shape[0] - start)
                data = file.read(n * row)
                if len(data) < n * row:
                    raise ImportFailed(f"{self.title} is truncated")
                yield np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:])

    def values(self) -> npt.NDArray[Any]:
        """The whole array. Raises ImportFailed if it is too large for labels."""
        if math.prod(self.shape) * self.dtype.itemsize > _MOST_LABEL_BYTES:
            raise ImportFailed(f"{self.title} is too large for labels")
        return np.concatenate([np.zeros((0, *self.shape[1:]), self.dtype), *self.chunks()])


@dataclass(frozen=True, eq=False)
class ArrayPair:
    """Images [N, H, W] or [N, H, W, C] and their labels [N] or [N, 1]."""

    images: ArrayFile
    labels: ArrayFile
    part: int


def idx_pairs(files: Files) -> list[ArrayPair]:
    """Pairs of MNIST's files; none if there are none. Raises ImportFailed, Unusable, OSError."""
    places = {name.lower().removesuffix(".gz"): place for place, name in enumerate(files.names)}
    pairs = []
    for name in sorted(places):
        for images, labels in zip(_IDX_IMAGES, _IDX_LABELS, strict=True):
            stem = name.removesuffix(images)
            if name.endswith(images) and stem + labels in places:
                first = stem.rpartition("/")[2]
                part = TEST if first.startswith(("t10k", "test")) else TRAIN if first.startswith("train") else NO_PART
                pairs.append(ArrayPair(_idx(files, places[name], 3), _idx(files, places[stem + labels], 1), part))
    return pairs


def _idx(files: Files, place: int, dimensions: int) -> ArrayFile:
    title = files.names[place]
    length = 4 + 4 * dimensions

    @contextmanager
    def at_start() -> Iterator[IO[bytes]]:
        with files.open(place) as file:
            if title.lower().endswith(".gz"):
                with gzip.open(file) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield file

    @contextmanager
    def at_values() -> Iterator[IO[bytes]]:
        with at_start() as file:
            file.read(length)
            yield file

    with at_start() as file:
        head = file.read(length)
    if len(head) < length or head[:4] != bytes([0, 0, 8, dimensions]):
        raise ImportFailed(f"{title} is not an IDX file of bytes with {dimensions} dimensions")
    return ArrayFile(title, struct.unpack(f">{dimensions}I", head[4:]), np.dtype(np.uint8), at_values)


def npz_pairs(path: Path) -> list[ArrayPair]:
    """Pairs of arrays in a .npz file. Raises ImportFailed, OSError, zipfile.BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy").lower(): name for name in archive.namelist() if name.endswith(".npy")}
    pairs = [
        ArrayPair(_npy(path, names[images]), _npy(path, names[labels]), part)
        for images, labels, part in _NPZ
        if images in names and labels in names
    ]
    if not pairs:
        raise ImportFailed(
            f"{path.name} needs arrays train_images and train_labels, x_train and y_train, or images and labels; "
            f"it has: {', '.join(sorted(names)[:20]) or 'none'}"
        )
    return pairs


def _npy(path: Path, member: str) -> ArrayFile:
    @contextmanager
    def at_values() -> Iterator[IO[bytes]]:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            _header(file, member)
            yield file

    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        shape, fortran, dtype = _header(file, member)
    if fortran and len(shape) > 1:
        raise ImportFailed(f"{member} is stored in Fortran order; save it in C order")
    if dtype.hasobject or not shape:
        raise ImportFailed(f"{member} is not an array of numbers or names")
    return ArrayFile(member, shape, dtype, at_values)


def _header(file: IO[bytes], title: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except ValueError as error:
        raise ImportFailed(f"{title} is not a NumPy array") from error


def by_arrays(pairs: list[ArrayPair], title: str) -> Catalog:
    """Images with the class that is their label. Raises ImportFailed."""
    labels: list[npt.NDArray[Any]] = []
    for pair in pairs:
        shape = pair.images.shape
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
            raise ImportFailed(
                f"{pair.images.title} has the shape {_shape(shape)}; images are [N, H, W] or [N, H, W, 1, 3 or 4]"
            )
        if pair.images.dtype.kind not in "buif":
            raise ImportFailed(f"{pair.images.title} has no numbers")
        if min(shape[1:3]) < 1 or pair.labels.shape not in ((shape[0],), (shape[0], 1)):
            raise ImportFailed(
                f"{pair.labels.title} has shape {_shape(pair.labels.shape)}, but there are {shape[0]:,} images of "
                f"{_shape(shape[1:])}; it needs one label per image"
            )
        labels.append(pair.labels.values().reshape(-1))
    texts: dict[str, int] = {}
    numbers: list[npt.NDArray[np.int64]] = []
    for values in labels:
        known, places = np.unique(values, return_inverse=True)
        ids = [texts.setdefault(_text(value), len(texts)) for value in known.tolist()]
        numbers.append(np.array(ids, np.int64)[places.reshape(-1)])
    classes, sorted_labels = sorted_classes(list(texts), np.concatenate(numbers))
    gray = all(len(pair.images.shape) == 3 or pair.images.shape[3] == 1 for pair in pairs)
    return Catalog(
        f"arrays of numbers in {title}",
        [f"{pair.images.title}#{row}" for pair in pairs for row in range(pair.images.shape[0])],
        sorted_labels.astype(np.int32),
        np.concatenate([np.full(pair.images.shape[0], pair.part, np.int8) for pair in pairs]),
        classes,
        1 if gray else 3,
        [],
        lambda: min(min(pair.images.shape[1:3]) for pair in pairs),
        lambda: _tasks(pairs),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{each:,}" for each in shape)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _tasks(pairs: list[ArrayPair]) -> Iterator[Task]:
    row = 0
    for pair in pairs:
        white = _white(pair.images)
        for chunk in pair.images.chunks():
            pixels = chunk if chunk.dtype == np.uint8 else _bytes(chunk, white)
            yield PixelsTask(list(range(row, row + len(pixels))), pixels)
            row += len(pixels)


def _white(images: ArrayFile) -> float:
    """The number that means white: 1, 255, 65,535 or the largest there is."""
    if images.dtype == np.uint8:
        return 255.0
    if images.dtype.kind == "b":
        return 1.0
    largest = max((float(np.nanmax(chunk.astype(np.float64))) for chunk in images.chunks()), default=1.0)
    usual = (1.0, 255.0, 65535.0) if images.dtype.kind == "f" else (255.0, 65535.0)
    return next((each for each in usual if largest <= each), largest)


def _bytes(values: npt.NDArray[Any], white: float) -> npt.NDArray[np.uint8]:
    exact = np.nan_to_num(values.astype(np.float64)) * (255.0 / white)
    return np.clip(np.rint(exact), 0, 255).astype(np.uint8)


def is_npz(path: Path) -> bool:
    """Whether a zip file has only arrays of NumPy in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
