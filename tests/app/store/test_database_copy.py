"""A database is copied by itself before each migration, and one of a newer version is left alone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from app.store.database import MIGRATIONS, migrate, open_database, reading, writing
from app.store.database_copy import MigrationError, copy_before_migration, copy_database


def open_at(folder: Path, revision: str) -> Any:
    """The engine of a new database of an earlier revision."""
    engine = open_database(f"sqlite:///{folder / 'runyard.db'}")
    alembic = Config()
    alembic.set_main_option("script_location", str(MIGRATIONS))
    with writing(engine) as connection:
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)
    return engine


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_database_is_copied_before_it_is_migrated_and_only_then(tmp_path: Path) -> None:
    engine = open_at(tmp_path, "0016")
    migrate(engine)
    (copy,) = (tmp_path / "backups").iterdir()
    assert revision_of(copy) == "0016"
    assert copy.name.endswith("-revision-0016.db")
    assert revision_of(tmp_path / "runyard.db") > "0016"
    migrate(engine)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [copy.name]


def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    migrate(open_database(f"sqlite:///{tmp_path / 'runyard.db'}"))
    assert not (tmp_path / "backups").exists()


def test_three_copies_are_kept_the_newest(tmp_path: Path) -> None:
    open_at(tmp_path, "0016").dispose()
    made = [copy_before_migration(tmp_path / "runyard.db", f"{number:04}") for number in range(5)]
    assert sorted((tmp_path / "backups").iterdir()) == made[2:]


def test_without_room_for_a_copy_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_at(tmp_path, "0016")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**7))
    with pytest.raises(MigrationError, match=r"no room for a copy .*\(10 MB free, 5\d MB needed\); make room"):
        migrate(engine)
    assert revision_of(tmp_path / "runyard.db") == "0016"


def test_a_database_of_a_newer_version_is_refused_in_a_sentence_and_left_as_it_is(tmp_path: Path) -> None:
    engine = open_at(tmp_path, "0016")
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(MigrationError, match=r"last used by a newer Runyard \(revision 9999\); install that version"):
        migrate(engine)
    assert revision_of(tmp_path / "runyard.db") == "9999"
    assert not (tmp_path / "backups").exists()


def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path) -> None:
    engine = open_at(tmp_path, "0016")
    with writing(engine) as connection:
        connection.execute(text("UPDATE commit_counter SET value = 5"))
    with writing(engine) as connection:
        connection.execute(text("UPDATE commit_counter SET value = 6"))
        copy_database(tmp_path / "runyard.db", tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT value FROM commit_counter").fetchone() == (5,)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT value FROM commit_counter")).scalar() == 6
    assert not (tmp_path / "copy.db-wal").exists()
