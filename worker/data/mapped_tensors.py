"""Maps the images of a safetensors file into memory: of a file of any size, only what is used is ever read.

The library's own mapping is writable, which Linux refuses for a file larger than the machine's memory.
"""

from __future__ import annotations

import json
import math
import mmap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {"U8": np.dtype("u1"), "I64": np.dtype("<i8")}
_MAX_HEADER_BYTES: Final = 100_000_000
"""Limit of the file format."""


class InvalidFile(Exception):
    """A file exists but cannot be used; the message continues a sentence that starts with its name."""


def map_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the uint8 and int64 tensors of a file: uint8 mapped, and so not to be written to, int64 read.

    shapes: of the tensors that must be in it. The file's header and size are checked, its values are not. Raises
    InvalidFile, and OSError if it cannot be opened.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        header_bytes = int.from_bytes(start, "little")
        if len(start) < 8 or header_bytes > min(size - 8, _MAX_HEADER_BYTES):
            raise InvalidFile("is truncated or not a safetensors file")
        entries = _entries(file.read(header_bytes))
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    first = 8 + header_bytes
    expected = first + max((end for _, _, (_, end) in entries.values()), default=0)
    if size != expected:
        raise InvalidFile(f"has {size:,} bytes instead of {expected:,}")
    tensors = {}
    for name, shape in shapes.items():
        if name not in entries:
            raise InvalidFile(f"has no {name}")
        dtype, found, (begin, end) = entries[name]
        if found != shape:
            raise InvalidFile(f"has {name} of shape {list(found)} instead of {list(shape)}")
        if dtype.itemsize == 1:
            tensors[name] = _mapped(mapping, first + begin, end - begin).view(shape)
        else:
            values = np.frombuffer(mapping[first + begin : first + end], dtype).astype(np.int64)
            tensors[name] = torch.from_numpy(values).view(shape)
    return tensors


def _entries(header: bytes) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]]:
    """Type, shape, and first and last byte after the header, of each tensor."""
    entries = {}
    try:
        for name, entry in json.loads(header).items():
            if name == "__metadata__":
                continue
            dtype, shape = _DTYPES[entry["dtype"]], tuple(int(size) for size in entry["shape"])
            begin, end = (int(offset) for offset in entry["data_offsets"])
            if begin < 0 or min(shape, default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(name)
            entries[name] = dtype, shape, (begin, end)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidFile("has an invalid header") from error
    return entries


def _mapped(mapping: mmap.mmap, offset: int, size: int) -> Tensor:
    values = np.frombuffer(mapping, np.uint8, size, offset)
    with warnings.catch_warnings():
        # It must not be written to, and is not: a write would end the process.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(values)
