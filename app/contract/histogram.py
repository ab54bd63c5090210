"""A histogram of values that a script logged, and its bytes in the database."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from app.contract.errors import Invalid

MAX_BUCKETS: Final = 512
"""Buckets that are kept; of more, neighbors are merged."""


@dataclass(frozen=True)
class Histogram:
    """How many values are in each bucket: ``counts[i]`` from ``edges[i]`` to ``edges[i + 1]``.

    There is at least one bucket, and edges never descend. A bucket without a width has values that are all equal.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def total(self) -> float:
        """Number of values."""
        return math.fsum(self.counts)

    def quantile(self, share: float) -> float:
        """The value below which this share of the values lies, if they are spread evenly within each bucket."""
        wanted, total = share * self.total, 0.0
        for (low, high), count in zip(pairwise(self.edges), self.counts, strict=True):
            if count > 0 and total + count >= wanted:
                return low + (high - low) * (wanted - total) / count
            total += count
        return self.edges[-1]


def checked_histogram(edges: Sequence[float], counts: Sequence[float]) -> Histogram:
    """Return a histogram without empty buckets at its ends, with at most ``MAX_BUCKETS``. Raises Invalid."""
    if not counts or len(edges) != len(counts) + 1:
        raise Invalid(f"a histogram of {len(counts):,} buckets needs {len(counts) + 1:,} edges, not {len(edges):,}")
    if not all(map(math.isfinite, edges)) or any(high < low for low, high in pairwise(edges)):
        raise Invalid("the edges of a histogram must be finite numbers in ascending order")
    if not all(map(math.isfinite, counts)) or min(counts) < 0:
        raise Invalid("the counts of a histogram must be finite numbers of at least 0")
    if not math.isfinite(edges[-1] - edges[0]) or not math.isfinite(sum(counts)):
        raise Invalid("the edges or counts of a histogram are too large")
    filled = [i for i, count in enumerate(counts) if count > 0] or [0]
    first, last = filled[0], filled[-1]
    trimmed = Histogram(tuple(map(float, edges[first : last + 2])), tuple(map(float, counts[first : last + 1])))
    return _merged(trimmed, math.ceil(len(trimmed.counts) / MAX_BUCKETS))


def _merged(histogram: Histogram, neighbors: int) -> Histogram:
    if neighbors == 1:
        return histogram
    starts = range(0, len(histogram.counts), neighbors)
    counts = tuple(math.fsum(histogram.counts[start : start + neighbors]) for start in starts)
    return Histogram((*(histogram.edges[start] for start in starts), histogram.edges[-1]), counts)


def pack_histogram(histogram: Histogram) -> bytes:
    """Encode a histogram: edges and counts as little-endian float64, compressed with zlib."""
    numbers = (*histogram.edges, *histogram.counts)
    return zlib.compress(struct.pack(f"<{len(numbers)}d", *numbers))


def unpack_histogram(packed: bytes) -> Histogram:
    """Decode the bytes of a histogram."""
    content = zlib.decompress(packed)
    numbers = struct.unpack(f"<{len(content) // 8}d", content)
    buckets = len(numbers) // 2
    return Histogram(numbers[: buckets + 1], numbers[buckets + 1 :])


def cumulated(histogram: Histogram) -> list[float]:
    """Number of values below each edge."""
    return [0.0, *accumulate(histogram.counts)]
