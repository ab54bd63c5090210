"""Measuring on several cores: the same numbers, steady progress, and no process left behind."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import psutil
import pytest

from worker.data import parallel_measuring
from worker.data.image_measures import CHUNK, MEASURES, Images, measure
from worker.data.parallel_measuring import MeasuringError, measure_all
from worker.reporting import progress
from worker.reporting.progress import ProgressReporter


class Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def few_images_are_worth_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_measuring, "_MIN_IMAGES_PER_PROCESS", 2 * CHUNK)
    monkeypatch.setattr(progress, "SHARE_SECONDS", 0.0)


@pytest.fixture
def images() -> Images:
    drawn = np.zeros((5 * CHUNK + 7, 28, 28), dtype=np.uint8)
    for i, image in enumerate(drawn):
        image[3 : 5 + i % 20, 4 : 6 + i // 20] = 200
    return drawn


def children() -> list[psutil.Process]:
    found = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in found if "worker.data.parallel_measuring" in child.cmdline()]


@pytest.mark.parametrize("cores", [1, 2])
def test_however_many_cores_work_the_measures_are_the_same_and_in_order(cores: int, images: Images) -> None:
    said: list[str] = []
    shares: list[float] = []
    used: set[int] = set()

    def progress(what: str, share: float) -> None:
        assert what == "measuring mnist"
        shares.append(share)
        used.add(len(children()))

    found = measure_all(images, ProgressReporter(said.append, progress), "measuring mnist", cores)
    assert np.array_equal(found, np.concatenate(list(measure(images))))
    assert said[0] == "measuring mnist (327 images)"
    # On a busy machine it takes long enough to say how far it is.
    assert all(line.startswith("measuring mnist: ") for line in said[1:])
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert used == {0 if cores == 1 else 2}
    assert not children()


def test_no_images_are_measured_at_once() -> None:
    nothing = np.zeros((0, 28, 28), dtype=np.uint8)
    assert measure_all(nothing, ProgressReporter(lambda text: None), "measuring", 2).shape == (0, len(MEASURES))


@pytest.mark.parametrize("cores", [1, 2])
def test_who_is_told_to_stop_while_measuring_stops_and_leaves_no_process(cores: int, images: Images) -> None:
    told: list[float] = []

    def progress(what: str, share: float) -> None:
        told.append(share)
        if share > 0.3:
            raise Stop

    with pytest.raises(Stop):
        measure_all(images, ProgressReporter(lambda text: None, progress), "measuring", cores)
    assert told[-1] < 1
    assert not children()
    assert [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name] == []


def test_while_the_processes_start_the_user_hears_that_nothing_is_done_yet(images: Images) -> None:
    shares: list[float] = []
    measure_all(images, ProgressReporter(lambda text: None, lambda what, share: shares.append(share)), "measuring", 2)
    assert shares[0] == 0


def test_a_measuring_process_that_is_killed_is_one_sentence(images: Images) -> None:
    def kill(what: str, share: float) -> None:
        for child in children():
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(MeasuringError, match=r"^a measuring process exited with status -9$"):
        measure_all(images, ProgressReporter(lambda text: None, kill), "measuring", 2)
    assert not children()


def test_a_measuring_process_imports_no_torch_and_ends_when_nothing_more_comes() -> None:
    code = "import sys; from worker.data.parallel_measuring import main; main(); sys.exit('torch' in sys.modules)"
    images = np.full((2, 5, 4), 9, dtype=np.uint8)
    sent = struct.pack("<3I", *images.shape) + images.tobytes()
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, timeout=60, check=True)
    found = np.frombuffer(done.stdout, dtype="<f4").reshape(2, len(MEASURES))
    assert np.array_equal(found, np.concatenate(list(measure(images))))


def test_what_a_process_is_sent_it_answers_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [np.full((n, 6, 6), 7, dtype=np.uint8) for n in (1, CHUNK + 3)]
    sent = b"".join(struct.pack("<3I", *block.shape) + block.tobytes() for block in blocks)
    answered = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sent)))
    wrapper: Any = io.TextIOWrapper(answered)
    monkeypatch.setattr(sys, "stdout", wrapper)
    parallel_measuring.main()
    monkeypatch.undo()
    assert len(answered.getvalue()) == (1 + CHUNK + 3) * len(MEASURES) * 4


def test_measuring_processes_end_with_the_one_that_is_killed_while_it_waits_for_them() -> None:
    code = """
import numpy as np, psutil
from worker.data.parallel_measuring import measure_all
from worker.reporting.progress import ProgressReporter

def progress(what, share):
    if share > 0:
        print(*(child.pid for child in psutil.Process().children()), flush=True)
        input()

measure_all(np.ones((4_000, 28, 28), dtype=np.uint8), ProgressReporter(lambda text: None, progress), "measuring", 2)
"""
    asking = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert asking.stdout is not None
    pids = [int(pid) for pid in asking.stdout.readline().split()]
    assert len(pids) == 2
    alive = [psutil.Process(pid) for pid in pids]
    asking.kill()
    asking.communicate()
    gone, left = psutil.wait_procs(alive, timeout=20)
    assert (len(gone), left) == (2, [])
