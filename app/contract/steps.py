"""Steps of metric points are signed 64-bit integers, as in MLflow and TensorBoard."""

from __future__ import annotations

from typing import Final

SMALLEST_STEP: Final = -(2**63)
LARGEST_STEP: Final = 2**63 - 1
NARROW: Final = 4
WIDE: Final = 8
"""Bytes of a packed step (see `app/contract/packed_steps.py`)."""
