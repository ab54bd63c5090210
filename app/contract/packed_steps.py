"""Arrays of steps, encoded in the fewest bytes: little-endian uint32 if all of them fit, else int64.

The number of bytes for each point tells which.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.contract.steps import NARROW, WIDE

Steps = npt.NDArray[np.int64]
LARGE = 2**12
"""From this length on, arrays are decoded one by one instead of being joined first."""


def pack_steps(steps: Steps, low: int, high: int) -> bytes:
    """Encode steps, all of them from ``low`` to ``high``, with four bytes each if these fit, else with eight."""
    return steps.astype("<u4" if low >= 0 and high < 2**32 else "<i8", copy=False).tobytes()


def unpack_steps(packed: Sequence[bytes], counts: Sequence[int]) -> Steps:
    """Decode and join arrays of ``counts`` steps each. Raises ValueError if their lengths do not match."""
    total, size = sum(counts), sum(map(len, packed))
    # If each of them has one of the two widths, these sizes occur only if all have the same.
    if size == WIDE * total:
        return np.frombuffer(b"".join(packed), "<i8")
    if size == NARROW * total and total < LARGE * len(packed):
        return np.frombuffer(b"".join(packed), "<u4").astype(np.int64)
    steps = np.empty(total, np.int64)
    end = 0
    for part, count in zip(packed, counts, strict=True):
        begin, end = end, end + count
        if len(part) not in (NARROW * count, WIDE * count):
            raise ValueError(f"{len(part):,} bytes are not {count:,} steps")
        steps[begin:end] = np.frombuffer(part, "<u4" if len(part) == NARROW * count else "<i8")
    return steps
