"""The database is opened durable, migrates once, and gives every commit its own number."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from app.store import (
    api_token,
    audit_event,
    imported_entry,
    lineage,
    live_change,
    log,
    metric,
    model_job,
    notification,
    prediction_file,
    queue,
    run,
    saved_view,
    sign_in_failure,
    sign_in_session,
    step_record,
    sweep,
    tracked_run,
    undo,
    user,
    welcome_code,
    worker,
)
from app.store.database import MIGRATIONS, next_commit, open_database, reading, rows, writing
from tests.conftest import config as config_of


@pytest.mark.sqlite
def test_sqlite_waits_for_locks_and_syncs_every_commit(engine: Engine) -> None:
    with reading(engine) as connection:
        said = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10000}


MIGRATE = """
import sys
from app.store.database import migrate, open_database
migrate(open_database(sys.argv[1]))
"""


def test_several_processes_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'runyard.db'}"
    started = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    complaints = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], complaints
    engine = open_database(url)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT value FROM commit_counter")).scalars().all() == [0]
    engine.dispose()


def test_many_may_open_a_new_database_in_the_same_instant(tmp_path: Path) -> None:
    refused: list[Exception] = []

    def write(url: str, gate: threading.Barrier) -> None:
        opened = open_database(url)
        gate.wait()
        try:
            with writing(opened) as connection:
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS note (text)")
        except OperationalError as error:
            refused.append(error)
        opened.dispose()

    for attempt in range(40):
        gate = threading.Barrier(8)
        url = f"sqlite:///{tmp_path / str(attempt) / 'runyard.db'}"
        threads = [threading.Thread(target=write, args=(url, gate)) for _ in range(gate.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert refused == []


def _comparable(_what: object, name: str | None, *_more: object) -> bool:
    # A descending column cannot be compared; test_queue.py has a look at how that index is used.
    # Only the migration knows what searches look into.
    return name not in ("ix_run_queue", "ix_run_turn") and not (name or "").startswith("searched_")


@pytest.mark.sqlite
def test_the_migrations_make_the_tables_that_the_code_describes(engine: Engine) -> None:
    assert {
        module.__name__
        for module in (
            live_change,
            imported_entry,
            lineage,
            log,
            step_record,
            tracked_run,
            metric,
            model_job,
            notification,
            prediction_file,
            queue,
            run,
            sweep,
            undo,
            saved_view,
            worker,
            api_token,
            audit_event,
            sign_in_failure,
            sign_in_session,
            user,
            welcome_code,
        )
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _comparable})
        assert compare_metadata(context, SQLModel.metadata) == []


@pytest.mark.sqlite
def test_a_migration_carries_over_what_is_there(engine: Engine) -> None:
    with writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        run_columns = {"id": "r_1", "number": 7, "started_at": 10.0, "ended_at": 12.5}
        series_columns = {"id": 1, "run": "r_1", "name": "val/acc", "best": 0.5}
        chunk_columns = {"id": 3, "series": 1, "steps": b"s", "point_values": b"v", "times": b"t", "level_steps": b"l"}
        for table, said in (("run", run_columns), ("metric_series", series_columns), ("metric_chunk", chunk_columns)):
            for _, name, kind, needed, *_ in connection.exec_driver_sql(f"PRAGMA table_info({table})").all():
                if needed and name not in said:
                    said[name] = "" if kind == "VARCHAR" else 0
            places = ", ".join(f":{name}" for name in said)
            connection.execute(text(f"INSERT INTO {table} ({', '.join(said)}) VALUES ({places})"), said)
        command.upgrade(config, "head")
    with reading(engine) as connection:
        assert connection.execute(text("SELECT number, trained_seconds FROM run")).all() == [(7, 2.5)]
        assert connection.execute(text("SELECT run_number, best FROM metric_series")).all() == [(7, 0.5)]
        chunk = connection.execute(text("SELECT id, steps, point_values, times, level_steps FROM metric_chunk")).all()
        assert chunk == [(3, b"s", b"v", b"t", b"l")]


@pytest.mark.sqlite
def test_runs_launched_before_keep_the_initialization_that_they_had(engine: Engine) -> None:
    def migrate_to(revision: str) -> None:
        with writing(engine) as connection:
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = connection
            (command.downgrade if revision == "0011" else command.upgrade)(config, revision)

    with writing(engine) as connection:
        runs = {
            family: run.insert_run(connection, config_of(family=family, size="tiny"), {}, None, now)
            for now, family in enumerate(("vit", "convnext_v2", "simple_mlp"), 1)
        }
    migrate_to("0011")
    migrate_to("head")
    with reading(engine) as connection:
        found = {family: run.load_run(connection, id) for family, id in runs.items()}
    options = {family: record.config.options for family, record in found.items() if record}
    before = {"init": "trunc_normal_002"}
    assert options == {"vit": before, "convnext_v2": before, "simple_mlp": {}}


@pytest.mark.sqlite
def test_a_curve_seen_from_afar_is_read_without_its_points(engine: Engine) -> None:
    with reading(engine) as connection:
        columns = [name for _, name, *_ in connection.exec_driver_sql("PRAGMA table_info(metric_chunk)").all()]
        keys = connection.exec_driver_sql("PRAGMA foreign_key_list(metric_chunk)").all()
        indexes = connection.exec_driver_sql("PRAGMA index_list(metric_chunk)").all()
    assert columns.index("level_values") < columns.index("steps")
    # Nothing else was lost when the table was recreated.
    assert [(key.table, key.on_delete) for key in keys] == [("metric_series", "CASCADE")]
    assert [index.name for index in indexes] == ["ix_metric_chunk_series"]


def test_commits_of_many_writers_are_numbered_without_gap_or_double(engine: Engine) -> None:
    numbers: list[int] = []

    def write() -> None:
        for _ in range(10):
            with writing(engine) as connection:
                # A transaction that reads and then writes must not conflict with another writer.
                before = connection.execute(text("SELECT value FROM commit_counter")).scalar_one()
                numbers.append(next_commit(connection))
                assert numbers[-1] == before + 1

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 41))


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            next_commit(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with reading(engine) as connection:
        assert rows(connection.execute(text("SELECT value FROM commit_counter"))) == [{"value": 0}]


def test_a_reader_sees_one_moment(engine: Engine) -> None:
    with reading(engine) as before:
        before.execute(text("SELECT value FROM commit_counter")).scalar()
        with writing(engine) as connection:
            next_commit(connection)
        assert before.execute(text("SELECT value FROM commit_counter")).scalar() == 0
