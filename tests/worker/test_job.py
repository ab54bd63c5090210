from __future__ import annotations

import os
import pickle

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from tests.worker.conftest import make_config
from worker.job import CANCEL, COMMAND, GO_ON, INTERRUPT, PULSE, Control, Job, probe


def test_the_first_command_stands() -> None:
    shared = [GO_ON, 0]
    control = Control(shared)
    assert control.command == GO_ON
    assert control.order(CANCEL)
    assert not control.order(INTERRUPT)
    assert control.command == shared[COMMAND] == CANCEL


def test_every_beat_moves_the_pulse_and_nothing_else() -> None:
    shared = [GO_ON, 0]
    control = Control(shared)
    for _ in range(3):
        control.beat()
    assert control.pulse == shared[PULSE] == 3
    assert control.command == GO_ON


def test_both_sides_of_shared_memory_see_the_same_control() -> None:
    import multiprocessing

    shared = multiprocessing.get_context("forkserver").RawArray("q", 2)
    supervisor, trainer = Control(shared), Control(shared)
    trainer.beat()
    supervisor.order(INTERRUPT)
    assert (supervisor.pulse, trainer.command) == (1, INTERRUPT)


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
