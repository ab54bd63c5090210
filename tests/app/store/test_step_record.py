"""Histograms and texts in the database, by step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.contract.errors import Invalid
from app.store.database import reading, writing
from app.store.disk_use import disk_use
from app.store.step_record import (
    NewRecord,
    RecordTotals,
    add_records,
    check_room,
    list_places,
    list_series,
    read_contents,
    record_totals,
)
from tests.conftest import Runs

STEPS = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), max_size=4)


@given(STEPS)
def test_records_are_listed_by_step_and_those_of_one_step_as_they_came(
    runs: Runs, engine: Engine, parts: list[list[int]]
) -> None:
    run = runs.add()
    flat = [step for part in parts for step in part]
    with writing(engine) as connection:
        for start, part in enumerate(parts):
            records = [NewRecord(step, 1.5, f"{start}/{step}".encode()) for step in part]
            add_records(connection, run, "text", "a", records)
        add_records(connection, run, "histogram", "a", [NewRecord(1, 2.0, b"other")])
    with reading(engine) as connection:
        places = list_places(connection, run, "text", "a")
        assert [(each.step, each.number) for each in places] == sorted((step, i) for i, step in enumerate(flat))
        contents = read_contents(connection, run, "text", "a", [each.number for each in places])
        assert [contents[each.number].decode().split("/")[1] for each in places] == [str(s) for s in sorted(flat)]
        series = [
            (each.name, each.count, each.first_step, each.last_step) for each in list_series(connection, run, "text")
        ]
        assert series == ([("a", len(flat), min(flat), max(flat))] if flat else [])
        size = sum(map(len, contents.values())) + len(b"other")
        assert record_totals(connection, run) == RecordTotals(len(flat) + 1, size)
        assert disk_use(connection, run).histograms_and_texts == disk_use(connection, run).total == size


def test_records_go_with_their_run(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        add_records(connection, run, "text", "a", [NewRecord(1, 1.0, b"x")])
        connection.execute(text("DELETE FROM run WHERE id = :run"), {"run": run})
    assert runs.sql("SELECT count(*) FROM step_record") == [(0,)]


def test_a_run_can_have_only_so_many_and_so_large_ones(
    runs: Runs, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.add()
    monkeypatch.setattr("app.store.step_record.MAX_RECORDS", 3)
    monkeypatch.setattr("app.store.step_record.MAX_BYTES", 10)
    with writing(engine) as connection:
        add_records(connection, run, "text", "a", [NewRecord(1, 1.0, b"12345"), NewRecord(2, 1.0, b"1")])
        check_room(connection, run, 1, 4)
        with pytest.raises(Invalid, match="at most 3 histograms and texts"):
            check_room(connection, run, 2, 1)
        with pytest.raises(Invalid, match="at most 0 MiB together"):
            check_room(connection, run, 1, 5)
