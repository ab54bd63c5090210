"""What a run has of each event file: whatever is sent, in whichever parts and how often, counts once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.store.database import reading, writing
from app.store.imported_entry import KnownEntries, find_imported, read_entries, write_entries
from tests.app.store.test_step_migration import migrate
from tests.conftest import Runs

# A part of a file of 20 entries: where it begins, and how many it has.
PARTS = st.lists(st.tuples(st.sampled_from(["f1", "f2"]), st.integers(0, 20), st.integers(0, 20)), max_size=20)


@given(PARTS)
def test_each_entry_of_each_file_is_new_exactly_once(
    runs: Runs, engine: Engine, parts: list[tuple[str, int, int]]
) -> None:
    run = runs.add()
    kept: dict[str, list[int]] = {"f1": [], "f2": []}
    for file, offset, count in parts:
        with writing(engine) as connection:
            known = read_entries(connection, run, file)
            received = known.take("metric", "loss", offset, count)
            if received is None:
                assert offset > len(kept[file])
                continue
            kept[file] += list(range(offset, offset + count))[received:]
            write_entries(connection, run, file, known)
    for found in kept.values():
        assert found == list(range(len(found)))


@given(st.integers(0, 12), st.lists(st.integers(1, 5), max_size=6))
def test_points_from_before_files_had_names_are_those_at_their_beginning(
    runs: Runs, engine: Engine, before: int, sizes: list[int]
) -> None:
    run, new = runs.add(), 0
    with writing(engine) as connection:
        unnamed = KnownEntries()
        unnamed.take("metric", "loss", 0, before)
        write_entries(connection, run, "", unnamed)
    for number, size in enumerate(sizes):
        for _ in range(2):
            with writing(engine) as connection:
                known = read_entries(connection, run, f"f{number}")
                received = known.take("metric", "loss", 0, size)
                assert received is not None
                new += size - received
                write_entries(connection, run, f"f{number}", known)
    assert new == max(0, sum(sizes) - before)


def test_a_run_is_found_by_any_of_its_files(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        known = KnownEntries()
        known.take("file", "", 0, 0)
        write_entries(connection, run, "f2", known)
    with reading(engine) as connection:
        assert find_imported(connection, ["f1", "f2"]) == run
        assert find_imported(connection, ["f1"]) is None


def test_the_migration_notes_the_points_of_earlier_imports(runs: Runs, engine: Engine) -> None:
    imported, other = runs.add(), runs.add()
    with writing(engine) as connection:
        migrate(connection, "0019")
        connection.exec_driver_sql(f"UPDATE run SET origin = 'tensorboard' WHERE id = '{imported}'")
        for run in (imported, other):
            connection.exec_driver_sql(
                "INSERT INTO metric_series (run, run_number, name, points, first_step, last_step, last_time, low_step,"
                f" high_step, best_step, not_finite) VALUES ('{run}', 1, 'loss', 7, 0, 6, 1.0, 0, 0, 0, 0)"
            )
        migrate(connection, "head")
    with reading(engine) as connection:
        assert read_entries(connection, imported, "f1").unassigned == {("metric", "loss"): 7}
        assert read_entries(connection, other, "f1").unassigned == {}
