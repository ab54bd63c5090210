"""`runyard import --follow` in a process of its own: kept alive, killed, and with a server that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.contract.histogram import checked_histogram
from app.formats.summary_values import HistogramValue, ImageValue, Scalar, TextValue, Value
from app.formats.tfevents import write_events
from tests.app.formats.test_summary_values import PNG
from tests.system.running_yard import OFFLINE, ROOT

BEGAN = 1_790_000_000.0
KILLS = 6
Start = Callable[[Any, Path], "subprocess.Popen[bytes]"]


class EventWriter:
    """Writes an event file as a training does: each value is flushed as soon as it is there."""

    def __init__(self, folder: Path, name: str = "events.out.tfevents.1790000000.here") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / name
        self._path.write_bytes(next(iter(write_events([], BEGAN))))
        self.steps = 0

    def add(self, *values: Value) -> None:
        """Write values."""
        with self._path.open("ab", buffering=0) as file:
            for record in list(write_events(values, BEGAN))[1:]:
                file.write(record)

    def step(self, count: int = 1) -> None:
        """Write points of the next steps, and now and then an image, a histogram and a text."""
        for _ in range(count):
            step, self.steps = self.steps, self.steps + 1
            self.add(Scalar("loss", step, float(step), BEGAN + step))
            if step % 20 == 0:
                self.add(
                    ImageValue("samples", step, PNG + bytes([step % 256]), "png", BEGAN + step),
                    HistogramValue("w", step, checked_histogram([0, 1, 2], [step, 1]), BEGAN + step),
                    TextValue("t", step, str(step), BEGAN + step),
                )


@pytest.fixture
def follow() -> Iterator[Start]:
    """Starts followers of folders, which are gone at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(yard: Any, folder: Path) -> subprocess.Popen[bytes]:
        words = ["-m", "app.cli", "import", "--follow", str(folder), "--url", yard.address]
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env={**os.environ, **OFFLINE})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(20)


def followed_run(yard: Any, name: str) -> str:
    """The id of the only run with this name, as soon as there is one."""

    def found() -> str | None:
        runs = yard.try_call(f"/runs?q={name}&limit=100") or {"runs": []}
        ids = [run["id"] for run in runs["runs"] if run["title"] == name]
        assert len(ids) < 2
        return ids[0] if ids else None

    return str(yard.until(found))


def values(yard: Any, run: str) -> list[float]:
    """All values of the run's loss, in the order of their steps."""
    found = yard.try_call(f"/runs/{run}/metrics?names=loss&points=0") or {}
    return [float(value) for value in found.get("loss", {"value": []})["value"]]


def assert_whole(yard: Any, run: str, steps: int) -> None:
    """Everything that was written is there exactly once."""
    yard.until(lambda: len(values(yard, run)) >= steps)
    marked = list(range(0, steps, 20))
    yard.until(lambda: len(yard.call(f"/runs/{run}/files?under=images")["files"]) >= len(marked))
    assert values(yard, run) == [float(step) for step in range(steps)]
    assert len(yard.call(f"/runs/{run}/files?under=images")["files"]) == len(marked)
    histograms = yard.call(f"/runs/{run}/histograms/w?most=0")["histograms"]
    assert [each["step"] for each in histograms] == marked
    texts = yard.call(f"/runs/{run}/texts/t")["texts"]
    assert [each["text"] for each in texts] == [str(step) for step in marked]


def test_a_follower_that_is_killed_again_and_again_loses_nothing_and_doubles_nothing(
    yard: Any, follow: Start, tmp_path: Path
) -> None:
    writer = EventWriter(tmp_path / "logs" / "killed-follower")
    writer.step(30)
    process, chance = follow(yard, tmp_path / "logs"), random.Random(3)
    run = followed_run(yard, "killed-follower")
    for _ in range(KILLS):
        before = len(values(yard, run))
        for _ in range(20):
            writer.step(10)
            threading.Event().wait(chance.uniform(0.0, 0.05))
        # In the middle of its work, and not before it has begun.
        yard.until(lambda: len(values(yard, run)) > before)  # noqa: B023
        writer.step(50)
        threading.Event().wait(chance.uniform(0.0, 0.4))
        assert process.poll() is None
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
        writer.step(10)
        process = follow(yard, tmp_path / "logs")
    assert_whole(yard, run, writer.steps)
    assert yard.call(f"/runs/{run}")["status"] == "running"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert yard.call(f"/runs/{run}")["status"] == "succeeded"


def test_a_server_that_is_killed_while_it_is_sent_to_gets_everything_once(
    own_yard: Any, follow: Start, tmp_path: Path
) -> None:
    yard = own_yard()
    writer = EventWriter(tmp_path / "logs" / "killed-server")
    writer.step(30)
    process = follow(yard, tmp_path / "logs")
    run = followed_run(yard, "killed-server")
    for _ in range(2):
        writer.step(300)
        victim = yard.child("app.cli", "server")
        victim.kill()
        writer.step(300)
        yard.until(lambda: yard.child("app.cli", "server").pid != victim.pid)  # noqa: B023
        yard.until(lambda: yard.try_call("/workers"))
        yard.until(lambda: len(values(yard, run)) >= writer.steps)
    assert_whole(yard, run, writer.steps)
    # Ended as by a service manager.
    process.terminate()
    assert process.wait(30) == 0
    assert yard.call(f"/runs/{run}")["status"] == "succeeded"
