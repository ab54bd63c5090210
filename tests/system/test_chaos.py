"""Twenty faults strike a whole Runyard, as `make chaos` lets many more of them do."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.campaign import Campaign, carry_out
from tests.conftest import inspected


def test_twenty_faults_lose_double_and_hang_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rych", dir="/tmp"))
    result = carry_out(Campaign(20, 20, "sqlite", folder, inspected(tmp_path_factory), specs=("mlp",)))
    assert result.findings == [], f"history and logs: {folder}"
    assert result.faults >= 20
    shutil.rmtree(folder)
