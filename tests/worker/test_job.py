from __future__ import annotations

import os
import pickle
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from tests.worker.conftest import make_config
from worker.job import CANCEL, COMMAND, CONTINUE, INTERRUPT, NUMBERS, PULSE, Control, Job, probe


def test_the_first_command_stands() -> None:
    shared = [CONTINUE, 0]
    control = Control(shared)
    assert control.command == CONTINUE
    assert control.request(CANCEL)
    assert not control.request(INTERRUPT)
    assert control.command == shared[COMMAND] == CANCEL


def test_every_beat_moves_the_pulse_and_nothing_else() -> None:
    shared = [CONTINUE, 0, 0, 0]
    control = Control(shared)
    for _ in range(3):
        control.beat()
    assert control.pulse == shared[PULSE] == 3
    assert control.command == CONTINUE


def test_both_sides_of_shared_memory_see_the_same_control() -> None:
    import multiprocessing

    shared = multiprocessing.get_context("forkserver").RawArray("q", NUMBERS)
    supervisor, trainer = Control(shared), Control(shared)
    trainer.beat()
    supervisor.request(INTERRUPT)
    trainer.set_waiting(True)
    assert (supervisor.pulse, trainer.command, supervisor.waiting) == (1, INTERRUPT, True)
    trainer.set_waiting(False)
    assert not supervisor.waiting


def test_a_job_reaches_the_fork_server_as_it_was() -> None:
    resume = Checkpoint(path="r/1/last.safetensors", epoch=1, step=39)
    job = Job("r", 2, 2, make_config(options={"dropout": 0.1}), resume, Settings(), "cuda:0", 4)
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_probe_tells_what_torch_finds() -> None:
    class Sent:
        facts: dict[str, object]
        closed = False

        def send(self, facts: dict[str, object]) -> None:
            self.facts = facts

        def close(self) -> None:
            self.closed = True

    connection = Sent()
    probe(connection)
    assert connection.closed
    assert connection.facts["kind"] in ("cpu", "cuda")
    memory = connection.facts["memory_bytes"]
    assert isinstance(memory, int)
    assert memory > 0
    if connection.facts["kind"] == "cpu":
        assert memory == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = connection.facts["versions"]
    assert isinstance(versions, dict)
    assert set(versions) == {"torch", "lightning"}


def probed(device: str) -> dict[str, Any]:
    here, there = Pipe()
    probe(there, device)
    found: dict[str, Any] = here.recv()
    return found


def test_a_machine_without_a_gpu_says_cpu() -> None:
    facts = probed("auto")
    assert (facts["kind"], facts.get("index", 0)) == ("cpu", 0)


@pytest.mark.parametrize(("device", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_the_gpu_that_was_asked_for_is_the_one_that_is_described(
    monkeypatch: pytest.MonkeyPatch, device: str, index: int
) -> None:
    _make_up_gpus(monkeypatch)
    facts = probed(device)
    assert (facts["kind"], facts["index"], facts["name"]) == ("cuda", index, f"GPU {index}")
    assert facts["memory_bytes"] == 100 + index


def test_a_gpu_that_is_not_there_is_not_described(monkeypatch: pytest.MonkeyPatch) -> None:
    _make_up_gpus(monkeypatch)
    assert probed("cuda:2")["kind"] == "cpu"


def _make_up_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    # There are none here: torch is asked about two that are made up.
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    properties = {index: SimpleNamespace(name=f"GPU {index}", total_memory=100 + index) for index in range(2)}
    monkeypatch.setattr("torch.cuda.get_device_properties", properties.__getitem__)
