"""A machine that was suspended while it trained: the time does not count as training."""

from __future__ import annotations

import numpy as np
import pytest

from app.contract.events import Result
from app.services.recorder import Recorder
from app.store.training_time import trained_seconds_at
from tests.conftest import Clock, Runs, Worker
from worker.suspension import asleep_seconds

NIGHT = 8 * 3600.0


def test_a_night_with_the_lid_closed_counts_in_no_duration(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    worker.beat(asleep=500.0)  # suspended before the run began
    recorder.step()
    trainer = worker.train(recorder)
    began = clock.now
    clock.now += 10.0
    worker.beat((run, trainer.fence), asleep=500.0)
    recorder.step()
    clock.now += NIGHT + 2.0
    worker.beat((run, trainer.fence), asleep=500.0 + NIGHT)
    recorder.step()
    assert runs.get(run).duration(clock.now) == pytest.approx(12.0, abs=0.1)
    clock.now += 5.0
    trainer.say("result", Result(outcome="succeeded"))
    recorder.step()
    found = runs.get(run)
    assert found.status == "succeeded"
    assert found.duration(clock.now + 1000.0) == pytest.approx(17.0, abs=0.1)
    assert runs.sql("SELECT trained_seconds FROM run WHERE id = :run", run=run)[0][0] == pytest.approx(17.0, abs=0.1)
    # The time axis of its curves leaves the night out too.
    evening, morning = began + 10.0, began + NIGHT + 12.0
    assert [
        round(float(at)) for at in trained_seconds_at(found.stretches, _times(evening, morning, morning + 5.0))
    ] == [
        10,
        12,
        17,
    ]


def test_a_moment_between_two_clocks_is_no_suspension(
    runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = runs.add()
    worker.beat()
    recorder.step()
    trainer = worker.train(recorder)
    for asleep in (0.3, 0.6, 0.2):
        clock.now += 2.0
        worker.beat((run, trainer.fence), asleep=asleep)
        recorder.step()
    assert len(runs.get(run).stretches) == 1
    assert runs.get(run).duration(clock.now) == pytest.approx(6.0, abs=0.1)


def test_a_machine_that_was_never_suspended_says_so() -> None:
    assert asleep_seconds() >= 0.0


def _times(*instants: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(instants)
