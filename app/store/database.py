"""The connection to the database: how it is opened, written and migrated."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10
MIGRATION_SECONDS = 120
"""How long a transaction, and how long a migration, waits for another process to release the database."""


def open_database(url: str) -> Engine:
    """An engine whose SQLite connections use WAL, wait 10 s for a lock and sync every commit to the disk."""
    if url.startswith("sqlite:///"):
        folder = Path(url.removeprefix("sqlite:///")).parent
        folder.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS})
        event.listen(engine, "connect", partial(_configure_sqlite, folder))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(url)


def _configure_sqlite(folder: Path, connection: sqlite3.Connection, _record: object) -> None:
    # SQLAlchemy's own "begin" event says BEGIN; the driver must not say it a second time.
    connection.isolation_level = None
    # While another connection looks at a database that is not yet in WAL mode, the change is refused without waiting.
    with _alone(folder):
        connection.execute("PRAGMA journal_mode=WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={1000 * BUSY_SECONDS}", "cache_size=-32000"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other thread or process is in here for this folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins as a reader and then writes can fail at once with "database is locked".
    immediate = connection.get_execution_options().get("runyard_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write; commits at its end."""
    with engine.connect().execution_options(runyard_write=True) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view of the database."""
    with engine.connect() as connection, connection.begin():
        yield connection


_NEXT_COMMIT = text("UPDATE commit_counter SET value = value + 1 RETURNING value")


def next_commit(connection: Connection) -> int:
    """The number of the commit that this transaction will be: larger than every number before it."""
    return int(connection.execute(_NEXT_COMMIT).scalar_one())


def migrate(engine: Engine) -> None:
    """Bring the database to the newest revision; safe when several processes start at once."""
    with engine.connect().execution_options(runyard_write=True) as connection:
        if engine.dialect.name == "sqlite":
            # Another process may be migrating, which takes longer than any other transaction.
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={1000 * MIGRATION_SECONDS}")
        with connection.begin():
            _upgrade(connection)
        if engine.dialect.name == "sqlite":
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={1000 * BUSY_SECONDS}")


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def rows(result: Any) -> list[dict[str, Any]]:
    """A result as plain dicts."""
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.all()]
