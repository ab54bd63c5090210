"""What the tests of several tables need."""

from __future__ import annotations

import pytest

from app.store import metric


@pytest.fixture
def small_fan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge after every third chunk, so that few points reach every tier."""
    monkeypatch.setattr(metric, "FAN", 3)
    monkeypatch.setattr(metric, "MERGE_AFTER_COMMITS", 2)
