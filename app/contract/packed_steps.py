"""Arrays of steps, encoded in the fewest bytes: little-endian uint32 if all of them fit, else int64.

The number of bytes for each point tells which.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.contract.steps import NARROW, WIDE

Steps = npt.NDArray[np.int64]


def pack_steps(steps: Steps, low: int, high: int) -> bytes:
    """Encode steps, all of them from ``low`` to ``high``, with four bytes each if these fit, else with eight."""
    return steps.astype("<u4" if low >= 0 and high < 2**32 else "<i8", copy=False).tobytes()


def unpack_steps(packed: Sequence[bytes], counts: Sequence[int]) -> Steps:
    """Decode and join arrays of ``counts`` steps each. Raises ValueError if their lengths do not match."""
    if not packed:
        return np.empty(0, np.int64)
    joined, total = b"".join(packed), sum(counts)
    # If each of them has one of the two widths, these sums occur only if all have the same.
    if len(joined) == NARROW * total:
        return np.frombuffer(joined, "<u4").astype(np.int64)
    if len(joined) == WIDE * total:
        return np.frombuffer(joined, "<i8")
    return np.concatenate([_unpack(part, count) for part, count in zip(packed, counts, strict=True)])


def _unpack(packed: bytes, count: int) -> Steps:
    if len(packed) == NARROW * count:
        return np.frombuffer(packed, "<u4").astype(np.int64)
    if len(packed) != WIDE * count:
        raise ValueError(f"{len(packed):,} bytes are not {count:,} steps")
    return np.frombuffer(packed, "<i8")
