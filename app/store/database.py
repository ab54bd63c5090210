"""Database access: open, migrate, read and write."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError

from app.store.database_copy import MigrationError, copy_before_migration
from app.store.postgresql import DatabaseUnusable, check_right_to_create, is_postgresql, open_postgresql

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 10
MIGRATION_SECONDS = 120
"""How long a transaction, and how long a migration, waits for another process to release the database."""


UNKNOWN = (
    "RUNYARD_DATABASE_URL must name a PostgreSQL database, such as postgresql://user:password@host/runyard, or a SQLite"
    " file, such as sqlite:////folder/runyard.db"
)


def open_database(url: str) -> Engine:
    """Create an engine; SQLite connections use WAL, wait 10 s for a lock and sync every commit to disk.

    ``url``: of SQLite or PostgreSQL. Raises DatabaseUnusable for another one, and if the driver is missing.
    """
    if url.startswith("sqlite:///"):
        folder = Path(url.removeprefix("sqlite:///")).parent
        folder.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS})
        event.listen(engine, "connect", partial(_configure_sqlite, folder))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnusable(UNKNOWN) from error
    if not is_postgresql(url):
        raise DatabaseUnusable(UNKNOWN)
    return open_postgresql(parsed, BUSY_SECONDS)


def _configure_sqlite(folder: Path, connection: sqlite3.Connection, _record: object) -> None:
    # SQLAlchemy's "begin" event sends BEGIN; the driver must not send it a second time.
    connection.isolation_level = None
    # SQLite refuses the change to WAL immediately, without waiting, while another connection uses the database.
    with _exclusive(folder):
        connection.execute("PRAGMA journal_mode=WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={1000 * BUSY_SECONDS}", "cache_size=-32000"):
        connection.execute(f"PRAGMA {pragma}")


def check_database(url: str) -> None:
    """Connect to a database. Raises DatabaseUnusable if that fails, and MigrationError if a newer version has used it.

    What SQLite raises for a damaged or unreadable file is passed on.
    """
    engine = open_database(url)
    try:
        with reading(engine) as connection:
            if _check_revision(connection) is None and engine.dialect.name == "postgresql":
                check_right_to_create(connection)
    except OperationalError as error:
        if engine.dialect.name == "sqlite":
            raise
        reason = str(error.orig).strip().splitlines()[0]
        raise DatabaseUnusable(f"cannot connect to the database of RUNYARD_DATABASE_URL: {reason}") from error
    finally:
        engine.dispose()


def _check_revision(connection: Connection) -> str | None:
    """The revision of a database; None if it is empty. Raises DatabaseUnusable and MigrationError."""
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and inspect(connection).get_table_names():
        name = connection.engine.url.database
        raise DatabaseUnusable(f"{name} is the database of another program; choose another data folder or database")
    if current is not None and not knows_revision(current):
        raise MigrationError(
            f"the database was last used by a newer Runyard (revision {current}); install that version, or restore"
            " a backup of this one into another data folder"
        )
    return current


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Wait for exclusive access to the folder across threads and processes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that begins as a reader and then writes can fail immediately with "database is locked".
    immediate = connection.get_execution_options().get("runyard_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a write transaction; commits on exit."""
    with engine.connect().execution_options(runyard_write=True) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a read transaction: a consistent view of the database."""
    with engine.connect() as connection, connection.begin():
        yield connection


@dataclass(frozen=True)
class Words:
    """Where the SQL of the two databases differs. ``like``: the operator that ignores case.

    ``json_number``: a function that extracts a number from JSON, or 1 or 0 for true or false; ``text_number``: the
    expression for the number that a text begins with, or 0. ``trigrams``: whether queries have to use
    ``searched_trigram`` by themselves. ``json_list``: the aggregate that makes a JSON list; ``elements``: selects the
    elements of :found, a JSON list of whole numbers.
    """

    like: str
    json_number: str
    json_list: str
    elements: str
    text_number: str = "CAST({} AS REAL)"
    trigrams: bool = False


def words_of(connection: Connection) -> Words:
    """The words of a connection's database."""
    if connection.dialect.name != "sqlite":
        return _POSTGRESQL
    if "trigrams" not in connection.info:
        connection.info["trigrams"] = bool(connection.execute(_HAS_TRIGRAMS).scalar())
    return _SQLITE_WITH_TRIGRAMS if connection.info["trigrams"] else _SQLITE


_JSON_EACH = "SELECT value FROM json_each(:found)"
_SQLITE = Words(like="LIKE", json_number="json_extract", json_list="json_group_array", elements=_JSON_EACH)
_SQLITE_WITH_TRIGRAMS = Words(
    like="LIKE", json_number="json_extract", json_list="json_group_array", elements=_JSON_EACH, trigrams=True
)
_POSTGRESQL = Words(
    like="ILIKE",
    json_number="json_number",
    json_list="json_agg",
    elements="SELECT value::bigint FROM json_array_elements_text(CAST(:found AS json))",
    text_number="text_number({})",
)
_HAS_TRIGRAMS = text("SELECT count(*) FROM sqlite_master WHERE name = 'searched_trigram'")


_NEXT_COMMIT = text("UPDATE commit_counter SET value = value + 1 RETURNING value")


def next_commit(connection: Connection) -> int:
    """The number of the current transaction's commit: larger than all earlier ones."""
    return int(connection.execute(_NEXT_COMMIT).scalar_one())


def migrate(engine: Engine) -> None:
    """Migrate the database to the newest revision; safe when several processes start at once. Raises MigrationError.

    A SQLite database is copied first.
    """
    # Another process may be migrating, which takes longer than any other transaction.
    options = {"runyard_write": True, "runyard_wait": MIGRATION_SECONDS}
    with engine.connect().execution_options(**options) as connection:
        if engine.dialect.name == "sqlite":
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={1000 * MIGRATION_SECONDS}")
        with connection.begin():
            _upgrade(connection)
        if engine.dialect.name == "sqlite":
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={1000 * BUSY_SECONDS}")


@cache
def _revisions() -> tuple[str, ...]:
    """All revisions, newest first."""
    return tuple(script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions())


def knows_revision(revision: str) -> bool:
    """Whether this version can open a database of this revision."""
    return revision in _revisions()


def newest_revision() -> str:
    """The revision that this version needs."""
    return _revisions()[0]


def current_revision(connection: Connection) -> str | None:
    """The revision of a database; None before its first migration."""
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> None:
    current = _check_revision(connection)
    if current == _revisions()[0]:
        return
    if current is not None and connection.dialect.name == "sqlite" and connection.engine.url.database:
        copy_before_migration(Path(connection.engine.url.database).absolute(), current)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def rows(result: Any) -> list[dict[str, Any]]:
    """Convert a result to plain dicts."""
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.all()]
