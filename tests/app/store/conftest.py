"""What the tests of several tables need."""

from __future__ import annotations

import pytest

from app.store import metric


@pytest.fixture
def small_fan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge after every third chunk, so that few points reach every tier."""
    monkeypatch.setattr(metric, "FAN", 3)
    monkeypatch.setattr(metric, "MERGE_AFTER_COMMITS", 2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test of the store on both databases."""
    if "database_url" in metafunc.fixturenames and metafunc.definition.get_closest_marker("sqlite") is None:
        metafunc.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
