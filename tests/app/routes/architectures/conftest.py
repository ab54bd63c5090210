"""What the tests of the catalog share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest


@pytest.fixture
def trained(trained: Callable[..., str]) -> Callable[..., str]:
    """Adds a run with the batch size that recipe default takes on digits: only these fill the catalog's columns."""
    return partial(trained, batch_size=32)
