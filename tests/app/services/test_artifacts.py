from __future__ import annotations

from pathlib import Path

import pytest

from app.contract.settings import Settings
from app.services import artifacts


@pytest.mark.parametrize("url", ["", "memory://yard"])
def test_files_are_found_by_pattern_with_their_sizes(url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, artifact_url=url or str(tmp_path / "store"))
    assert artifacts.size(settings, "a/b/c.json") is None
    assert artifacts.find(settings, "a/*/*.json") == []
    artifacts.write(settings, "a/b/c.json", b"12345")
    artifacts.write(settings, "a/b/c.txt", b"1")
    assert artifacts.size(settings, "a/b/c.json") == 5
    assert artifacts.exists(settings, "a/b/c.txt")
    assert artifacts.find(settings, "a/*/*.json") == ["a/b/c.json"]
    artifacts.remove(settings, "a/b/c.json")
    assert not artifacts.exists(settings, "a/b/c.json")
