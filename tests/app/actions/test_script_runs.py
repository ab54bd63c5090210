"""Several programs log to the run of their command: every point counts once, whoever sends it how often, and when."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.actions.run_imports import CurvePart
from app.actions.script_runs import ScriptPart, log_to_command
from app.actions.tracking import Points
from app.contract.errors import Conflict, NotFound
from app.store.database import reading, writing
from app.store.metric import read_curves
from app.web.dependencies import Parts
from tests.command_runs import command_run
from tests.conftest import Runs


@pytest.fixture
def parts(server: FastAPI) -> Parts:
    """The parts of the test's server."""
    found: Parts = server.state.parts
    return found


def part(
    client: str,
    name: str = "loss",
    offset: int = 0,
    count: int = 0,
    called: str = "",
    experiment: str = "",
    **more: Any,
) -> ScriptPart:
    """Points whose values tell their client and their place."""
    places = range(offset, offset + count)
    values = [1000.0 * ord(client) + place for place in places]
    curves = {name: CurvePart(offset, Points(list(places), values, [1.7e9] * count))} if count else {}
    return ScriptPart(f"client-{client}", experiment, called, curves=curves, **more)


def values_of(engine: Engine, run: str, name: str = "loss") -> list[float]:
    with reading(engine) as connection:
        curves = read_curves(connection, run, points=0)
    return [float(value) for value in curves[name].values] if name in curves else []


SENDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["loss", "acc"]), st.integers(0, 3), st.integers(0, 5)),
    max_size=25,
)


@given(sends=SENDS, end=st.integers(0, 25))
def test_each_point_of_each_program_counts_once(
    sends: list[tuple[str, str, int, int]], end: int, parts: Parts, small_chunks: None
) -> None:
    run = command_run(parts.engine)
    sent: Counter[tuple[str, str]] = Counter()
    for number, (client, name, again, more) in enumerate(sends):
        if number == end:
            Runs(parts.engine).set(run, status="failed", ended_at=time.time())
        # What was sent last may be sent again, with or without more behind it.
        offset = max(0, sent[client, name] - again)
        count = sent[client, name] - offset + more
        log_to_command(parts, run, part(client, name, offset, count))
        sent[client, name] += more
    for name in ("loss", "acc"):
        expected = [1000.0 * ord(client) + place for client in "abc" for place in range(sent[client, name])]
        assert sorted(values_of(parts.engine, run, name)) == sorted(expected)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge chunks with every part."""
    monkeypatch.setattr("app.store.metric.FAN", 3)
    monkeypatch.setattr("app.store.metric.MERGE_AFTER_COMMITS", 2)
    monkeypatch.setattr("app.actions.tracking.MERGE_SECONDS", 0.0)


def test_points_behind_a_gap_are_refused_and_nothing_is_added(parts: Parts) -> None:
    run = command_run(parts.engine)
    log_to_command(parts, run, part("a", count=2))
    with pytest.raises(Conflict, match="loss has only 2 points; cannot add points at offset 3"):
        log_to_command(parts, run, part("a", offset=3, count=2, parameters={"lr": "1"}))
    with pytest.raises(Conflict, match="loss has only 0 points"):
        log_to_command(parts, run, part("b", offset=2, count=2))
    assert len(values_of(parts.engine, run)) == 2
    assert Runs(parts.engine).get(run).config.options == {}


def test_what_was_given_to_the_command_stays_and_what_programs_give_is_added(parts: Parts) -> None:
    named = command_run(parts.engine, name="tune", tags=["mine"])
    fields: dict[str, Any] = {"called": "inner", "experiment": "scans", "tags": ["paper"], "user": "ada"}
    log_to_command(parts, named, part("a", parameters={"lr": "0.1"}, **fields))
    found = Runs(parts.engine).get(named)
    assert (found.config.name, found.row["name"], found.config.family) == ("tune", "tune", "scans")
    assert (found.tags, found.config.options, found.environment["user"]) == (["mine", "paper"], {"lr": "0.1"}, "ada")
    unnamed = command_run(parts.engine)
    log_to_command(parts, unnamed, part("a", called="inner", parameters={"lr": "0.1"}))
    # Another one comes later: it is heard, but what is there stays.
    _, warnings = log_to_command(
        parts, unnamed, part("b", called="other", experiment="late", user="bob", parameters={"lr": "0.2", "rank": "1"})
    )
    assert warnings == ["parameter 'lr' is already '0.1' in this run and stays so, not '0.2'"]
    found = Runs(parts.engine).get(unnamed)
    assert (found.config.name, found.row["name"], found.config.family) == ("inner", "inner", "Default")
    assert found.config.options == {"lr": "0.1", "rank": "1"}


@pytest.mark.parametrize("status", ["cancelling", "lost", "queued", "failed", "cancelled", "succeeded"])
def test_what_a_killed_program_left_is_taken_in_every_state(status: str, parts: Parts) -> None:
    run = command_run(parts.engine, status)
    log_to_command(parts, run, part("a", count=3))
    log_to_command(parts, run, part("a", count=3))
    assert len(values_of(parts.engine, run)) == 3
    assert Runs(parts.engine).status(run) == status


def test_only_runs_of_commands_are_shared(parts: Parts, runs: Runs) -> None:
    with pytest.raises(NotFound):
        log_to_command(parts, "r_none", part("a", count=1))
    with pytest.raises(Conflict, match="launched by Runyard"):
        log_to_command(parts, runs.add(), part("a", count=1))
    run = command_run(parts.engine)
    runs.set(run, origin="python")
    with pytest.raises(Conflict, match="executes no command"):
        log_to_command(parts, run, part("a", count=1))
    runs.set(run, origin="command", deleted_at=1.0)
    with pytest.raises(Conflict, match="in the trash"):
        log_to_command(parts, run, part("a", count=1))
    assert runs.sql("SELECT * FROM received_points") == []


def test_a_deleted_run_takes_its_counts_along(parts: Parts, runs: Runs) -> None:
    run = command_run(parts.engine)
    log_to_command(parts, run, part("a", count=1))
    assert runs.sql("SELECT client, name, points FROM received_points") == [("client-a", "loss", 1)]
    with writing(parts.engine) as connection:
        connection.exec_driver_sql("DELETE FROM run")
    assert runs.sql("SELECT * FROM received_points") == []
