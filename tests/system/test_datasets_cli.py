"""A user's own images from the command line, in a process that shares nothing with the server but its address."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.system.running_yard import OFFLINE, ROOT
from tests.system.test_browser_datasets import photos


@pytest.fixture
def runyard(yard: Any, tmp_path: Path) -> Any:
    """Runs the command, far from the server's data folder; returns what it prints, and fails where it fails."""

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *words],
            cwd=ROOT,
            env={**os.environ, **OFFLINE, "RUNYARD_URL": yard.address, "RUNYARD_DATA_DIR": str(tmp_path / "elsewhere")},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + (done.stderr if status else "")

    return run


def test_images_are_imported_trained_on_and_deleted_from_the_command_line(
    runyard: Any, yard: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "shades"
    content = photos({"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)})
    zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
    said = runyard("dataset", "add", str(folder), "--name", "shades", "--side", "28")
    assert "shades: 28 × 28 color, version " in said
    first = yard.call("/datasets/shades")["versions"][0]["version"]
    # Other choices make another version, which is used from then on; the first one stays.
    again = runyard("dataset", "add", str(folder), "--name", "shades", "--side", "32", "--rename", "blue=", "--json")
    second = json.loads(again)["dataset"]["version"]
    assert json.loads(again)["dataset"]["targets"][0]["labels"] == ["green", "red"]
    assert "shades" in runyard("dataset", "ls")
    assert "1 not an image" in runyard("dataset", "show", "shades")

    words = ("launch", "--family", "simple_mlp", "--size", "tiny", "--epochs", "1", "--wait", "--json")
    launched = []
    for dataset in ("shades", f"shades@{first}"):
        (run,) = json.loads(runyard(*words, "--dataset", dataset))["runs"]
        launched.append(run["id"])
        assert run["status"] == "succeeded"
    used = [yard.call(f"/runs/{run}")["spec"]["dataset"] for run in launched]
    assert used == [f"shades@{second}", f"shades@{first}"]
    assert "no dataset 'shade'" in runyard(*words, "--dataset", "shade", status=2)
    swept = ("sweep", "create", "--family", "simple_mlp", "--size", "tiny", "--epochs", "1", "--json")
    sweep = json.loads(runyard(*swept, "--dataset", f"shades,shades@{first}"))
    assert [yard.call(f"/runs/{run}")["spec"]["dataset"] for run in sweep["runs"]] == [
        f"shades@{second}",
        f"shades@{first}",
    ]
    for run in sweep["runs"]:
        yard.wait_for(run, "succeeded")
    launched += sweep["runs"]

    assert "restores it" in runyard("dataset", "rm", "shades")
    assert "no dataset 'shades'" in runyard("dataset", "show", "shades", status=1)
    runyard("dataset", "restore", "shades")
    runyard("dataset", "rm", "shades")
    # Other tests look at runs on digits only.
    for run in launched:
        yard.call(f"/runs/{run}", method="DELETE")
