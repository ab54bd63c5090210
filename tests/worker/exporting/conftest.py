"""Settings of the tests of exports."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def without_traces() -> Iterator[None]:
    """pytest records all that is logged, and torch.export would log a trace of every operation."""
    logger = logging.getLogger("torch")
    traces = logging.getLogger("torch.__trace")
    before = logger.level, traces.level
    logger.setLevel(logging.WARNING)
    traces.setLevel(logging.WARNING)
    yield
    logger.setLevel(before[0])
    traces.setLevel(before[1])
