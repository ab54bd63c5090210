"""Fixtures of the tests of importing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.data.importing.making import Imports


@pytest.fixture
def imports(tmp_path: Path) -> Imports:
    """Imports into an empty folder of datasets."""
    return Imports(tmp_path / "datasets")
