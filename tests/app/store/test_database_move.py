"""A yard moves from SQLite to PostgreSQL whole, or not at all."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, inspect, text

from app.cli import serve
from app.cli.move_database import move_database
from app.contract.settings import Settings
from app.services.backup import BackupError, back_up
from app.services.data_folder import MOVED
from app.store import database_move
from app.store.database import next_commit, open_database, reading, rows, writing
from app.store.database_move import copy_database
from app.store.experiment import insert_experiment
from app.store.metric import Curve, add_points, read_curves
from app.store.postgresql import DatabaseUnusable
from app.store.tables import METADATA
from app.store.tracked_run import NewLoggedRun, insert_logged
from tests.conftest import Runs
from tests.postgresql import MigratedDatabase

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.sqlite


@pytest.fixture
def target(postgresql_database: MigratedDatabase) -> Iterator[Engine]:
    """An empty PostgreSQL database."""
    opened = open_database(postgresql_database.url)
    yield opened
    opened.dispose()
    postgresql_database.reset()


@pytest.fixture
def yard(engine: Engine, runs: Runs) -> Runs:
    """A SQLite database with some of everything that is hard to carry over."""
    for number in range(1100):
        runs.add(1_700_000_000.0 + number, tags=["a", "ü"] if number % 7 == 0 else [], name=f"Zoë {number}")
    with writing(engine) as connection:
        commit = next_commit(connection)
        run = insert_logged(
            connection,
            NewLoggedRun(insert_experiment(connection, "x\0y", {}, 1.0), "x", "n", 1.0, parameters={"a": "\0"}),
            commit,
            2.0,
            1.0,
        )
        steps = np.array([-(2**62), 0, 2**62])
        curve = Curve(steps, np.array([math.nan, math.inf, 0.1]), np.array([1.5, 2.5, 3.5]))
        add_points(connection, run, "loss", curve, commit)
    return runs


def contents(connection: Connection, table: str) -> list[str]:
    """The rows of a table, whatever the order of its columns."""
    found = rows(connection.execute(text(f'SELECT * FROM "{table}"')))
    return sorted(str(sorted(row.items())) for row in found)


def test_every_row_is_there_and_new_ones_follow(yard: Runs, target: Engine) -> None:
    told: dict[str, int] = {}
    proofs = copy_database(yard.engine, target, told.__setitem__)
    assert {proof.table: proof.rows for proof in proofs} == told
    assert told["run"] == 1101
    with reading(yard.engine) as old, reading(target) as new:
        # What searches look into is made anew by triggers.
        stored = {name for name in inspect(old).get_table_names() if not name.startswith("searched_")}
        assert set(told) == stored - {"alembic_version"}
        assert contents(new, "searched_text") == contents(old, "searched_text")
        assert set(told) <= set(METADATA.tables)
        for table in told:
            if table in ("experiment", "logged_run", "run"):
                continue
            assert contents(new, table) == contents(old, table)
        assert new.execute(text("SELECT name FROM experiment WHERE id > 0")).scalar() == "x\N{REPLACEMENT CHARACTER}y"
        (run,) = old.execute(text("SELECT id FROM run WHERE origin <> ''")).scalars()
        before, after = read_curves(old, run, points=0)["loss"], read_curves(new, run, points=0)["loss"]
        assert [each.tobytes() for each in (before.steps, before.values)] == [
            each.tobytes() for each in (after.steps, after.values)
        ]
    there = Runs(target)
    assert there.get(there.add()).number == 1102
    with writing(target) as connection:
        insert_experiment(connection, "next", {}, 1.0)
        add_points(connection, run, "acc", Curve(before.steps, before.values, before.times), next_commit(connection))


def test_the_command_alone_knows_every_table(engine: Engine) -> None:
    """Tests import everything; the command only what it names."""
    script = "from app.store.database_move import METADATA; print(*METADATA.tables)"
    known = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    stored = {name for name in inspect(engine).get_table_names() if not name.startswith("searched_")}
    assert {*known.stdout.split(), "alembic_version"} == stored


def test_a_table_that_is_unknown_is_refused(yard: Runs, target: Engine) -> None:
    with writing(yard.engine) as connection:
        connection.execute(text("CREATE TABLE later (id INTEGER PRIMARY KEY)"))
    with pytest.raises(DatabaseUnusable, match="table later is missing, or unknown to this version"):
        copy_database(yard.engine, target, lambda *_: None)


def test_a_database_with_runs_is_refused(yard: Runs, target: Engine) -> None:
    run = Runs(target).add()
    with pytest.raises(DatabaseUnusable, match="not empty: it has 1 runs"):
        copy_database(yard.engine, target, lambda *_: None)
    assert Runs(target).sql("SELECT id FROM run") == [(run,)]


def test_a_yard_whose_worker_reports_is_refused(yard: Runs, target: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = "id, last_seen"
    needed = {"id": "w", "last_seen": 1000.0}
    with writing(yard.engine) as connection:
        for _, name, kind, required, *_ in connection.exec_driver_sql("PRAGMA table_info(worker)").all():
            if required and name not in needed:
                needed[name] = "" if kind == "VARCHAR" else 0
        columns = ", ".join(needed)
        connection.execute(text(f"INSERT INTO worker ({columns}) VALUES (:{', :'.join(needed)})"), needed)
    monkeypatch.setattr("time.time", lambda: 1010.0)
    with pytest.raises(DatabaseUnusable, match="has just reported"):
        copy_database(yard.engine, target, lambda *_: None)
    assert Runs(target).sql("SELECT count(*) FROM run") == [(0,)]


def test_a_copy_that_differs_is_taken_back(yard: Runs, target: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(_: object, target: object, table: object) -> int:
        return 0

    monkeypatch.setattr(database_move, "_copy", lossy)
    with pytest.raises(DatabaseUnusable, match="differs after it was copied"):
        copy_database(yard.engine, target, lambda *_: None)
    assert Runs(target).sql("SELECT value FROM commit_counter") == [(0,)]


def _start(folder: Path) -> None:
    """What every process checks that opens the database of a folder."""
    serve._check_database(Settings(data_dir=folder, database_url=None))


def test_the_command_names_what_is_wrong_and_proves_what_it_did(
    yard: Runs, target: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, folder = target.url.render_as_string(hide_password=False), tmp_path / "data"
    yard.engine.dispose()
    for wrong, where, sentence in (
        (url, tmp_path / "none", "there is no"),
        (f"sqlite:///{tmp_path}/other.db", folder, "must be a PostgreSQL database"),
        ("postgresql://a@/b?host=/nowhere", folder, "cannot connect"),
    ):
        with pytest.raises(BaseException, match="1"):
            move_database(wrong, where)
        assert sentence in capsys.readouterr().err
    move_database(url, folder)
    said = capsys.readouterr().out
    assert "run: 1,101 rows" in said
    assert "are equal in both databases" in said
    # Who starts, copies or moves the old file without the setting is told where its runs are, without a password.
    address = target.url.set(password=None).render_as_string()
    for again in (partial(move_database, url), _start):
        with pytest.raises(BaseException, match="1"):
            again(folder)
        assert f"have moved to {address}; set RUNYARD_DATABASE_URL" in capsys.readouterr().err
    with pytest.raises(BackupError, match="have moved to"):
        back_up(Settings(data_dir=folder, database_url=None), tmp_path / "old.tar")
    assert not (tmp_path / "old.tar").exists()
    serve._check_database(Settings(data_dir=folder, database_url=url))
    (folder / MOVED).unlink()
    _start(folder)
    with pytest.raises(BaseException, match="1"):
        move_database(url, folder)
    assert "not empty" in capsys.readouterr().err
