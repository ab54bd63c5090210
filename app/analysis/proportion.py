"""The interval of a share that was measured on a number of images."""

from __future__ import annotations

import math
from typing import Final

Z: Final = 1.959963984540054
"""The 97.5% quantile of the normal distribution."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share, 0 to 1: E. B. Wilson, JASA 22 (1927), 209-212. Raises ValueError for none."""
    if not 0 <= hits <= count or not count:
        raise ValueError(f"{hits} of {count} is no share")
    share, square = hits / count, Z * Z / count
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    # Exactly 0 and 1 at the ends, where rounding could cross them.
    return (0.0 if hits == 0 else max(0.0, middle - half)), (1.0 if hits == count else min(1.0, middle + half))
