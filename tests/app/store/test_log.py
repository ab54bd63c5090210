"""Log lines are read in the order in which they were logged."""

from __future__ import annotations

from app.contract.events import LogLine
from app.store.database import next_commit, reading, writing
from app.store.log import add_lines, lines_beginning_with, read_lines
from tests.conftest import Runs


def add(runs: Runs, run: str, *texts: str) -> int:
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        add_lines(connection, run, 2, [LogLine(time=5, level="warning", text=said) for said in texts], commit)
    return commit


def test_the_last_lines_of_a_log_are_read_oldest_first(runs: Runs) -> None:
    run, other = runs.add(), runs.add()
    add(runs, run, *(f"line {i}" for i in range(8)))
    add(runs, other, "another run's")
    add(runs, run, "last")
    with reading(runs.engine) as connection:
        found = read_lines(connection, run, tail=3)
    assert [line["text"] for line in found] == ["line 6", "line 7", "last"]
    assert {(line["time"], line["level"], line["attempt"]) for line in found} == {(5.0, "warning", 2)}


def test_the_lines_after_a_commit_are_known(runs: Runs) -> None:
    run = runs.add()
    first = add(runs, run, "a", "b")
    second = add(runs, run, "c")
    add(runs, run)
    with reading(runs.engine) as connection:
        assert [line["text"] for line in read_lines(connection, run, after_commit=first)] == ["c"]
        assert read_lines(connection, run, after_commit=second) == []


def test_lines_are_found_by_how_they_begin(runs: Runs) -> None:
    run, other = runs.add(), runs.add()
    add(runs, run, "tested a%", "not tested b", "tested c", "tested d")
    add(runs, other, "tested e")
    with reading(runs.engine) as connection:
        assert lines_beginning_with(connection, run, "tested ", 2) == ["tested a%", "tested c"]
        assert lines_beginning_with(connection, run, "tested _%", 9) == []
