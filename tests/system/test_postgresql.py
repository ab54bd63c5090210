"""A whole Runyard on PostgreSQL: it trains, stops and sweeps, and loses nothing when parts of it are killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.postgresql import PostgreSQL, running, why_not


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """A PostgreSQL that a test may stop."""
    if why_not():
        pytest.skip(why_not())
    with running() as found:
        yield found


@pytest.fixture
def yard(own_yard: Callable[..., Any], server: PostgreSQL) -> Any:
    """A Runyard on it."""
    found = own_yard(RUNYARD_DATABASE_URL=server.url(server.create()))
    found.wait_for_worker()
    return found


def complete(yard: Any, run: str) -> None:
    """Every step and every epoch is there once."""
    found = yard.wait_for(run, "succeeded")
    curves = yard.call(f"/runs/{run}/metrics?points=0")
    assert curves["train/loss"]["step"] == list(range(1, found["progress"]["steps"] + 1))
    assert len(curves["val/acc"]["step"]) == found["spec"]["epochs"]


def test_runs_are_trained_stopped_and_swept(yard: Any) -> None:
    assert not (yard.folder / "data" / "runyard.db").exists()
    stopped = yard.launch(family="simple_mlp", epochs=5000)
    yard.wait_for_step(stopped, 20)
    yard.call(f"/runs/{stopped}/cancel", {})
    assert yard.wait_for(stopped, "cancelled")["progress"]["step"] >= 20
    sweep = yard.call(
        "/sweeps",
        {
            "base": {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 2},
            "space": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}},
            "method": "tpe",
            "draws": 4,
        },
    )
    yard.until(lambda: yard.call(f"/sweeps/{sweep['id']}")["counts"] == {"succeeded": 4}, 240)
    found = yard.call("/runs?q=val/acc%3E0%20epochs:2&sort=-val/acc,params")
    assert len(found["runs"]) == 4
    assert len(yard.call("/runs?q=MLP%20early_stopping:0")["runs"]) == 5


def test_a_killed_recorder_and_a_restart_of_the_database_lose_and_double_no_point(
    yard: Any, server: PostgreSQL
) -> None:
    run = yard.launch(family="simple_mlp", size="base", epochs=600)
    yard.wait_for_step(run, 50)
    victim = yard.child("recorder")
    victim.kill()
    yard.until(lambda: yard.child("recorder").pid != victim.pid)
    step = yard.call(f"/runs/{run}")["progress"].get("step", 0)
    yard.wait_for_step(run, step + 50)
    processes = {name: yard.child("app.cli", name).pid for name in ("server", "recorder")}
    server.stop()
    yard.until(lambda: yard.try_call(f"/runs/{run}") is None)
    server.start()
    step = yard.until(lambda: yard.try_call(f"/runs/{run}"))["progress"]["step"]
    yard.wait_for_step(run, step + 50)
    complete(yard, run)
    assert yard.call(f"/runs/{run}")["attempt"] == 1
    # They reconnected, and did not have to be started again.
    assert {name: yard.child("app.cli", name).pid for name in processes} == processes
