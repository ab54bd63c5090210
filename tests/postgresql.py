"""A private PostgreSQL for tests, on a Unix socket in a temporary folder; without one, its tests are skipped."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import inspect, text

from app.store.database import migrate, open_database, reading, rows


@cache
def why_not() -> str:
    """Why there is no PostgreSQL here; "" if there is one."""
    if _program("initdb") is None:
        return "PostgreSQL is not installed (on Debian: apt install postgresql)"
    if os.getuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return ""


def _program(name: str) -> str | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    found = shutil.which(name, path=os.pathsep.join([*map(str, reversed(folders)), os.environ.get("PATH", "")]))
    # Its own libraries are found beside the real file.
    return None if found is None else os.path.realpath(found)


def _user() -> str | None:
    names = {each.pw_name for each in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


class PostgreSQL:
    """A running server. ``durable``: it waits for the disk at each commit, as with its own defaults."""

    def __init__(self, folder: Path, port: int = 5432, durable: bool = False) -> None:
        self.folder = folder
        self.durable = durable
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            user = _user()
            assert user is not None
            shutil.chown(folder, user)
            self._as = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        self._names = itertools.count()
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None
        program = _program("initdb")
        assert program is not None
        options = ("--username=runyard", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run([program, "-D", str(folder / "data"), *options])

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, **self._as)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = _program("postgres")
        assert program is not None
        careless = () if self.durable else ("fsync=off", "full_page_writes=off")
        settings = ("listen_addresses=", "max_connections=200", *careless)
        options = [word for setting in settings for word in ("-c", setting)]
        command = [program, "-D", str(self.folder / "data"), "-k", str(self.folder), "-p", str(self._port), *options]
        with open(self.folder / "postgres.log", "ab") as log:
            self.process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self._as)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "postgres.log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it at once: open transactions are rolled back."""
        if self.process is not None:
            # Fast shutdown.
            self.process.send_signal(2)
            self.process.wait(60)
            self.process = None

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def sql(self, statement: str) -> None:
        """Run a statement outside any transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://runyard@/{database}?host={self.folder}&port={self._port}"

    def create(self) -> str:
        """The name of a new database."""
        name = f"test_{next(self._names)}"
        self.sql(f"CREATE DATABASE {name}")
        return name


class MigratedDatabase:
    """A migrated database that is as new after each ``reset``: to create one takes a second."""

    def __init__(self, server: PostgreSQL) -> None:
        self.server = server
        self.url = server.url(server.create())
        engine = open_database(self.url)
        migrate(engine)
        with reading(engine) as connection:
            tables = inspect(connection).get_table_names()
            self._new = {table: rows(connection.execute(text(f'SELECT * FROM "{table}"'))) for table in tables}
            self._sequences = inspect(connection).get_sequence_names()
        engine.dispose()

    def reset(self) -> None:
        """Restore every table."""
        with psycopg.connect(self.url) as connection:
            # Without checks of references, in any order.
            connection.execute("SET session_replication_role = replica")
            for table in self._new:
                connection.execute(f'DELETE FROM "{table}"'.encode())
            for sequence in self._sequences:
                connection.execute(f'ALTER SEQUENCE "{sequence}" RESTART'.encode())
            for table, new in self._new.items():
                for row in new:
                    columns, marks = ", ".join(f'"{name}"' for name in row), ", ".join(["%s"] * len(row))
                    statement = f'INSERT INTO "{table}" ({columns}) VALUES ({marks})'
                    connection.execute(statement.encode(), list(row.values()))


@contextmanager
def running(durable: bool = False) -> Iterator[PostgreSQL]:
    """A server without any data; ``durable``: as in PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="rypg", dir="/tmp"))
    try:
        server = PostgreSQL(folder, durable=durable)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
