"""A disk that fills in mid-run: on a small file system in memory, which only root can mount."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import inspected
from tests.system.running_yard import ROOT, RunningYard

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for a yard on a disk of 160 MiB."""
    folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("cannot mount a small disk: run this test as root")
    try:
        known = inspected(tmp_path_factory)
        (folder / "data").mkdir()
        for name in ("catalog.json", "families.json"):
            shutil.copy(known / name, folder / "data")
        shutil.copytree(known / "networks", folder / "data" / "networks")
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all room on the disk of a folder but ``leave`` bytes, in a file that is returned."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while shutil.disk_usage(folder).free > leave:
                file.write(b"\0" * min(MIB, max(4096, shutil.disk_usage(folder).free - leave)))
        except OSError:
            assert not leave
    return filler


def curves(yard: RunningYard, run: str) -> dict[str, Any]:
    """All points of a run, except those whose steps depend on time."""
    found = yard.call(f"/runs/{run}/metrics?points=0")
    return {
        name: (curve["step"], curve["value"])
        for name, curve in found.items()
        if not name.startswith(("system/", "train/lr"))
    }


def run_cli(yard: RunningYard, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a command says to this yard."""
    environment = os.environ | {"RUNYARD_URL": yard.address, "RUNYARD_DATA_DIR": str(yard.folder / "data")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def page(yard: RunningYard, path: str) -> str:
    with urllib.request.urlopen(yard.address + path, timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.sqlite
def test_a_disk_that_fills_in_mid_run_pauses_everything_and_loses_nothing(
    small_disk: Path, own_yard: Callable[..., RunningYard]
) -> None:
    yard = own_yard(folder=small_disk)
    yard.wait_for_worker()
    spec: dict[str, Any] = {"family": "simple_mlp", "epochs": 300, "seed": 5, "compile": "off"}
    undisturbed = yard.launch(**spec)
    yard.wait_for(undisturbed, "succeeded")
    run = yard.launch(**spec)
    yard.wait_for_step(run, 500)

    # Below the limit for a pause, nothing new starts, and the run goes on without checkpoints.
    filler = fill(small_disk, leave=2 * MIB)
    yard.until(lambda: yard.call("/queue")["held"])
    waiting = yard.launch(family="simple_mlp", epochs=1)
    assert "is full" in page(yard, "/runs")
    assert 'id="queue-held"' in page(yard, "/queue")
    yard.call("/queue/pause", {})

    # Without any room, it stands still, and what cannot be saved is refused with a sentence.
    filler.unlink()
    fill(small_disk)
    trainer = yard.trainer()
    yard.until(lambda: _stands_still(yard, trainer))
    still = yard.call(f"/runs/{run}")["progress"]["step"]

    def refused() -> str:
        try:
            yard.launch(family="simple_mlp", epochs=1, notes="x" * 20_000)
        except urllib.error.HTTPError as error:
            return f"{error.code} {json.loads(error.read())['detail']}"
        return ""

    # Files that the database has made already have room for some launches.
    refusal = yard.until(refused, 240)
    assert refusal.startswith("507 the disk of ")
    assert "is full; nothing was changed" in refusal
    assert "is full" in page(yard, "/")
    assert "is full" in run_cli(yard, "ls").stderr
    assert yard.call(f"/runs/{run}")["status"] == "running"
    assert yard.call(f"/runs/{run}")["progress"]["step"] == still

    (small_disk / "filler").unlink()
    found = yard.wait_for(run, "succeeded")
    assert found["attempt"] == 1
    assert curves(yard, run) == curves(yard, undisturbed)
    # What a user has paused stays paused.
    yard.until(lambda: not yard.call("/queue")["held"])
    assert yard.call("/queue")["paused"]
    assert yard.call(f"/runs/{waiting}")["status"] == "queued"
    yard.call("/queue/resume", {})
    yard.wait_for(waiting, "succeeded")
    assert "is full" not in page(yard, "/")
    assert {worker["id"] for worker in yard.call("/workers")["workers"]} == {found["worker"]}


def _stands_still(yard: RunningYard, trainer: psutil.Process) -> bool:
    """Whether the trainer has hardly computed for a second."""
    return bool(trainer.cpu_percent(interval=1.0) < 30)
