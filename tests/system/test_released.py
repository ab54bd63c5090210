"""A Runyard on the data folder of a released version goes on: new runs train, and old ones are continued."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import inspected
from tests.released.released import VERSIONS, unpack
from tests.system.running_yard import RunningYard

SPEC = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 1, "device": "cpu"}


@pytest.mark.parametrize("version", VERSIONS)
def test_runs_are_launched_and_continued_there(
    version: str, own_yard: Callable[..., RunningYard], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    shown = unpack(version, folder / "data")
    for name in ("catalog.json", "families.json", "networks"):
        known = inspected(tmp_path_factory) / name
        (shutil.copytree if known.is_dir() else shutil.copy)(known, folder / "data" / name)
    yard = own_yard(folder)
    first = next(run for run in shown["runs"] if run["id"] == shown["first"])
    new = yard.launch(**SPEC)
    resumed = yard.call(f"/runs/{first['id']}/resume", {"epochs": 3})["id"]
    assert yard.wait_for(new, "succeeded")["number"] == len(shown["runs"]) + 1
    ended = yard.wait_for(resumed, "succeeded")
    assert (ended["parent"], ended["progress"]["epoch"]) == (first["id"], 3)
    # It goes on behind the points of its parent.
    curve = yard.call(f"/runs/{resumed}/metrics?names=train/loss&points=0")["train/loss"]
    before = first["curves"]["train/loss"]
    assert curve["step"][: len(before["step"])] == before["step"]
    assert curve["value"][: len(before["value"])] == before["value"]
    assert curve["step"][-1] == ended["progress"]["step"] > before["step"][-1]
