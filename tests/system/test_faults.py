"""What happens when a part is killed in mid-run: with real processes, and real signals."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil


class Viewer:
    """A browser's side of the event stream: reads it in a thread, and comes back with Last-Event-ID."""

    def __init__(self, address: str, run: str) -> None:
        self.url = f"{address}/api/v1/runs/{run}/events"
        self.steps: list[int] = []
        self.statuses: list[str] = []
        self.resets = 0
        self.connections = 0
        self.ended = threading.Event()
        self._last = "0"
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ended.is_set():
            try:
                request = urllib.request.Request(self.url, headers={"Last-Event-ID": self._last})
                with urllib.request.urlopen(request, timeout=20) as stream:
                    self.connections += 1
                    self._read(stream)
            except (urllib.error.URLError, OSError):
                self.ended.wait(0.1)

    def _read(self, stream: Iterator[bytes]) -> None:
        event, data = "", ""
        for raw in stream:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("id: "):
                self._last = line[4:]
            elif line.startswith("data: "):
                data = line[6:]
            elif not line and event:
                self._hear(event, json.loads(data))
                event = ""

    def _hear(self, event: str, data: Any) -> None:
        if event == "metrics":
            self.steps += data.get("train/loss", {"step": []})["step"]
        elif event == "status":
            self.statuses.append(data["status"])
        elif event == "reset":
            self.resets += 1
        elif event == "end":
            self.ended.set()


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that only waits to be reaped by init does not."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _complete(yard: Any, run: str) -> None:
    """The run has succeeded, with every step's point once."""
    found = yard.wait_for(run, "succeeded", seconds=600)
    curves = yard.call(f"/runs/{run}/metrics?points=0")
    assert curves["train/loss"]["step"] == list(range(1, found["progress"]["steps"] + 1))
    assert len(curves["val/acc"]["step"]) == found["spec"]["epochs"]


def test_recorder_server_and_redis_killed_in_mid_run_lose_and_double_no_point(yard: Any) -> None:
    run = yard.launch(family="simple_mlp", size="base", epochs=600)
    viewer = Viewer(yard.address, run)
    for part in (("app.cli", "recorder"), ("app.cli", "server"), ("redis-server", "unixsocket:")):
        step = yard.call(f"/runs/{run}")["progress"].get("step", 0)
        yard.wait_for_step(run, step + 50)
        victim = yard.child(*part)
        victim.kill()
        # The fault has to have struck while the run was trained, and to have been mended.
        yard.until(lambda part=part, victim=victim: yard.child(*part).pid != victim.pid)
        yard.until(lambda: yard.try_call("/workers"))
        assert yard.call(f"/runs/{run}")["status"] == "running"
    _complete(yard, run)
    assert yard.call(f"/runs/{run}")["attempt"] == 1
    assert viewer.ended.wait(20)
    assert viewer.resets == 0
    assert viewer.steps == list(range(1, len(viewer.steps) + 1))
    assert len(viewer.steps) == yard.call(f"/runs/{run}")["progress"]["steps"]
    assert viewer.statuses[-1] == "succeeded"


def test_a_run_whose_worker_is_killed_is_found_lost_and_goes_on(yard: Any) -> None:
    run = yard.launch(family="simple_cnn", size="small", epochs=400)
    yard.wait_for_step(run, 60)
    worker = psutil.Process(yard.wait_for_worker()["pid"])
    family = worker.children(recursive=True)
    assert any("forkserver" in " ".join(process.cmdline()) for process in family)
    worker.kill()
    yard.until(lambda: not _alive(family), 20)
    lost = yard.wait_for(run, "lost", "queued", seconds=30)
    assert worker.pid != yard.wait_for_worker()["pid"]
    assert "lost contact" in lost["reason"]
    again = yard.wait_for(run, "running", seconds=120)
    assert again["attempt"] == 2
    # It went on from a checkpoint: its log says so, and no step is missing or doubled.
    yard.wait_for_step(run, 120)
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")
    said = [line["text"] for line in yard.call(f"/runs/{run}/logs")["lines"]]
    assert any(text.startswith("resuming from step") for text in said)
    steps = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["step"]
    assert steps == list(range(1, len(steps) + 1))


def test_a_run_whose_trainer_is_killed_goes_on_by_itself(yard: Any) -> None:
    run = yard.launch(family="simple_mlp", epochs=5000)
    yard.wait_for_step(run, 20)
    yard.trainer().kill()
    yard.until(lambda: yard.call(f"/runs/{run}")["attempt"] == 2, 60)
    said = yard.wait_for(run, "running", seconds=60)
    yard.wait_for_step(run, said["progress"]["step"] + 20)
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")
    steps = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["step"]
    assert steps == list(range(1, len(steps) + 1))


def test_ctrl_c_ends_every_process_and_the_run_goes_on_at_the_next_start(own_yard: Any) -> None:
    yard = own_yard()
    run = yard.launch(family="simple_cnn", size="small", epochs=300)
    yard.wait_for_step(run, 30)
    family = yard.children()
    assert len(family) >= 6
    yard.process.send_signal(signal.SIGINT)
    assert yard.process.wait(60) == 0
    yard.until(lambda: not _alive(family), 20)
    yard = own_yard(folder=yard.folder)
    found = yard.wait_for(run, "running", seconds=120)
    assert found["attempt"] == 2
    yard.call(f"/runs/{run}/cancel", {})
    yard.wait_for(run, "cancelled")
    steps = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]["step"]
    assert steps[:30] == list(range(1, 31))
    assert steps == list(range(1, len(steps) + 1))
    # And when Runyard itself is killed, nothing of it is left either, though nobody hears what its trainer had to say.
    run = yard.launch(family="simple_cnn", size="small", epochs=300)
    yard.wait_for_step(run, 30)
    family = yard.children()
    yard.process.kill()
    yard.until(lambda: not _alive(family), 20)
    yard = own_yard(folder=yard.folder)
    yard.until(lambda: yard.call(f"/runs/{run}")["attempt"] == 2, 120)
