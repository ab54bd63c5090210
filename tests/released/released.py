"""The data folders of released versions, for tests."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VERSIONS = sorted(path.stem for path in HERE.glob("*.json"))


def unpack(version: str, folder: Path) -> dict[str, Any]:
    """Write the data folder of a version into a new folder; returns what that version showed of its runs."""
    with tarfile.open(HERE / f"{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    shown: dict[str, Any] = json.loads((HERE / f"{version}.json").read_text())
    return shown
