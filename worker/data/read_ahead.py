"""Has the system read mapped images from disk before they are used; harmless for images in ordinary memory.

Without advice, a page is read when it is first used, each with its neighbors in the file, and one at a time: images of
64×64 pixels in random order took almost three times as long (bench/streaming.py).
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from typing import Final

import numpy as np
from torch import Tensor

# Unlike mmap.madvise it takes an address, and so anybody's mapping.
_MADVISE: Final = ctypes.PyDLL(None).madvise
_MADVISE.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
_MINCORE: Final = ctypes.PyDLL(None).mincore
_MINCORE.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
_CHUNK_BYTES: Final = 16 * 2**20


def expect_random(images: Tensor) -> None:
    """Read no neighbors of what is used: the images are used in random order, each announced by `read_images`."""
    _advise(images.data_ptr(), images.nbytes, mmap.MADV_RANDOM)


def read_images(images: Tensor, rows: Sequence[int]) -> None:
    """Start reading these images, all at once."""
    size, start = images[0].nbytes if len(images) else 0, images.data_ptr()
    for row in rows:
        _advise(start + row * size, size, mmap.MADV_WILLNEED)


def read_all(images: Tensor) -> None:
    """Start reading all images in the order of the file, which is many times faster than one by one at random."""
    start, size = images.data_ptr(), images.nbytes
    for offset in range(0, size, _CHUNK_BYTES):
        _advise(start + offset, min(_CHUNK_BYTES, size - offset), mmap.MADV_WILLNEED)


def in_memory(images: Tensor) -> bool:
    """Whether the system has every page of the images in memory, and so announcing them gains nothing."""
    start, size = images.data_ptr(), images.nbytes
    first, end = start - start % mmap.PAGESIZE, start + size
    for chunk in range(first, end, _CHUNK_BYTES):
        length = min(_CHUNK_BYTES, end - chunk)
        pages = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
        # Only the lowest bit has a meaning.
        if _MINCORE(chunk, length, pages.ctypes.data) or not (pages & 1).all():
            return False
    return True


def _advise(start: int, size: int, advice: int) -> None:
    first = start - start % mmap.PAGESIZE
    # It is only advice: without it, everything works the same, only slower.
    _MADVISE(first, start + size - first, advice)
