"""What PostgreSQL needs beyond SQLAlchemy to behave like SQLite does here: transactions, locks and values.

Queries are the same for both. Migration 0025 adds the functions of SQLite that they use to a PostgreSQL database.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg
from sqlalchemy.engine import URL

DRIVER_MISSING: Final = (
    "RUNYARD_DATABASE_URL names a PostgreSQL database, but its driver is not installed; install it with:"
    " pip install 'runyard[postgres]'"
)
WRITE_LOCK: Final = 0x52_75_6E_79
"""Key of the advisory lock that a write transaction holds from its beginning to its end ("Runy")."""
_LOCK = text(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
_SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


class DatabaseUnusable(Exception):
    """Runyard cannot use the database of its settings; the message says why and what to do."""


def open_postgresql(url: URL, busy_seconds: int) -> Engine:
    """Create an engine. Its write transactions wait up to ``busy_seconds`` for each other. Raises DatabaseUnusable."""
    if importlib.util.find_spec("psycopg") is None:
        raise DatabaseUnusable(DRIVER_MISSING)
    from psycopg import ClientCursor

    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        # A restart of the server breaks the connections of the pool.
        pool_pre_ping=True,
        use_native_hstore=False,
        connect_args={
            # Values go into the statements here: PostgreSQL would have to deduce a type for each, and cannot always.
            "cursor_factory": ClientCursor,
            "options": f"-c lock_timeout={busy_seconds}s",
            "connect_timeout": busy_seconds,
        },
    )
    engine.dialect.statement_compiler = _Compiler
    event.listen(engine, "connect", _adapt)
    event.listen(engine, "begin", _begin)
    return engine


class _Compiler(PGCompiler_psycopg):
    """Writes an empty list behind IN as NULL, which has any type; SQLAlchemy's own is a number."""

    def visit_empty_set_expr(self, element_types: Any, **_: Any) -> str:
        return "NULL"


def is_postgresql(url: str) -> bool:
    """Whether this is the URL of a PostgreSQL database."""
    return make_url(url).get_backend_name() in ("postgresql", "postgres")


def check_right_to_create(connection: Connection) -> None:
    """Raise DatabaseUnusable if the user may not create tables; since version 15, only the owner of a database may."""
    if not connection.execute(_MAY_CREATE).scalar():
        user, name = connection.execute(text("SELECT current_user, current_database()")).one()
        raise DatabaseUnusable(
            f"user {user} may not create tables in the database of RUNYARD_DATABASE_URL; run, as its owner or as the"
            f" superuser: ALTER DATABASE {name} OWNER TO {user}"
        )


_MAY_CREATE = text("SELECT has_schema_privilege(current_schema(), 'CREATE')")


def _begin(connection: Connection) -> None:
    # All writers wait for each other, as with SQLite: what one of them has read stays true until it commits, and
    # commits become visible in the order of their numbers. A writer has no snapshot: it could be older than its lock.
    options = connection.get_execution_options()
    if not options.get("runyard_write", False):
        connection.execute(_SNAPSHOT)
        return
    if "runyard_wait" in options:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{options['runyard_wait']}s'")
    connection.execute(_LOCK)


def _adapt(connection: Any, _record: object) -> None:
    dumpers, loader = _adapters()
    for kind, dumper in dumpers.items():
        connection.adapters.register_dumper(kind, dumper)
    connection.adapters.register_loader("numeric", loader)


@cache
def _adapters() -> tuple[dict[type, Any], Any]:
    """What converts values as SQLite does: NaN is NULL, a text may contain NUL, and numbers are int or float."""
    from psycopg.adapt import Loader
    from psycopg.types.numeric import FloatDumper
    from psycopg.types.string import StrDumperUnknown

    class Float(FloatDumper):
        def dump(self, obj: float) -> Any:
            return None if obj != obj else super().dump(obj)

        def quote(self, obj: float) -> Any:
            return b"NULL" if obj != obj else super().quote(obj)

    class Text(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            # PostgreSQL cannot store it; SQLite's own functions end a text there.
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in obj else obj)

    class Number(Loader):
        def load(self, data: Any) -> int | float:
            digits = bytes(data).decode()
            return int(digits) if digits.lstrip("-").isdecimal() else float(digits)

    return {float: Float, str: Text}, Number
