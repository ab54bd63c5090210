"""Copy everything from one database to another, and prove that both have the same rows."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Connection, Engine, Table, inspect, select, text

from app.store.database import writing
from app.store.postgresql import DatabaseUnusable
from app.store.tables import METADATA

ROWS = 1000
IDLE_SECONDS = 30.0


@dataclass(frozen=True)
class TableProof:
    """What was read back of a table: its number of rows, and a hash of all of their values."""

    table: str
    rows: int
    digest: str


def copy_database(source: Engine, target: Engine, told: Callable[[str, int], None]) -> list[TableProof]:
    """Copy all rows to a migrated database without runs; ``told``: each table and its number of rows, once copied.

    All or nothing: the target is committed only if what is read back from it equals the source, which nobody can change
    meanwhile. Raises DatabaseUnusable.
    """
    with writing(source) as old, writing(target) as new:
        _check_idle(old, time.time())
        tables = _tables(old)
        if tables.keys() != _tables(new).keys():
            raise DatabaseUnusable("the two databases have different tables: one of them has another version")
        _check_empty(new)
        _clear(new, tables)
        for name, table in tables.items():
            told(name, _copy(old, new, table))
        if new.dialect.name == "postgresql":
            _set_sequences(new, tables)
        proofs = [_proof(new, table) for table in tables.values()]
        for proof, table in zip(proofs, tables.values(), strict=True):
            if proof != _proof(old, table):
                raise DatabaseUnusable(f"table {proof.table} differs after it was copied; the target stays empty")
    return proofs


def _tables(connection: Connection) -> dict[str, Table]:
    """All tables of Runyard, those that others refer to first. Raises DatabaseUnusable if one is missing or unknown."""
    # What searches look into is kept by triggers.
    names = (name for name in inspect(connection).get_table_names() if not name.startswith("searched_"))
    found = set(names) - {"alembic_version"}
    if unknown := found ^ METADATA.tables.keys():
        raise DatabaseUnusable(f"table {min(unknown)} is missing, or unknown to this version")
    return {table.name: table for table in METADATA.sorted_tables}


def _check_idle(connection: Connection, now: float) -> None:
    seen = connection.execute(text("SELECT max(last_seen) FROM worker")).scalar()
    if seen is not None and now - seen < IDLE_SECONDS:
        raise DatabaseUnusable("a worker has just reported to this Runyard; stop it, and wait a minute")


def _check_empty(connection: Connection) -> None:
    runs = connection.execute(text("SELECT count(*) FROM run")).scalar_one()
    commits = connection.execute(text("SELECT value FROM commit_counter")).scalar_one()
    if runs or commits:
        raise DatabaseUnusable(f"the target is not empty: it has {runs:,} runs; choose a new database")


def _clear(connection: Connection, tables: dict[str, Table]) -> None:
    """Remove what the migrations have put in, which comes from the source too."""
    for table in reversed(list(tables.values())):
        connection.execute(table.delete())


def _columns(table: Table) -> list[Any]:
    return [column for column in table.columns if column.computed is None]


def _ordered(connection: Connection, table: Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table by its primary key, a slice at a time."""
    keys = list(table.primary_key.columns)
    # Text in the order of its bytes, in any locale.
    order = [key.collate("C") if connection.dialect.name == "postgresql" and _is_text(key) else key for key in keys]
    statement = select(*_columns(table)).order_by(*order).execution_options(yield_per=ROWS)
    with connection.execute(statement) as result:
        for row in result:
            yield tuple(row)


def _is_text(column: Any) -> bool:
    return bool(column.type.python_type is str)


def _copy(source: Connection, target: Connection, table: Table) -> int:
    names = [column.name for column in _columns(table)]
    count, waiting = 0, []
    for row in _ordered(source, table):
        waiting.append(dict(zip(names, row, strict=True)))
        if len(waiting) == ROWS:
            target.execute(table.insert(), waiting)
            count, waiting = count + len(waiting), []
    if waiting:
        target.execute(table.insert(), waiting)
    return count + len(waiting)


def _set_sequences(connection: Connection, tables: dict[str, Table]) -> None:
    """Let each new row get an id behind those that were copied."""
    for table in tables.values():
        for column in table.primary_key.columns:
            at = {"table": table.name, "column": column.name}
            sequence = connection.execute(text("SELECT pg_get_serial_sequence(:table, :column)"), at).scalar()
            if sequence is not None:
                highest = f'(SELECT coalesce(max("{column.name}"), 0) + 1 FROM "{table.name}")'
                connection.execute(text(f"SELECT setval(:sequence, {highest}, FALSE)"), {"sequence": sequence})


def _proof(connection: Connection, table: Table) -> TableProof:
    digest, count = hashlib.sha256(), 0
    booleans = [isinstance(column.type, Boolean) for column in _columns(table)]
    for row in _ordered(connection, table):
        count += 1
        for value, boolean in zip(row, booleans, strict=True):
            digest.update(_bytes(bool(value) if boolean and value is not None else value))
    return TableProof(table.name, count, digest.hexdigest())


def _bytes(value: Any) -> bytes:
    """A value with its kind and length, so that different rows never give the same bytes."""
    match value:
        case None:
            return b"n"
        case bool():
            return b"b1" if value else b"b0"
        case int():
            content = b"i" + str(value).encode()
        case float():
            content = b"f" + struct.pack("<d", value)
        case bytes() | memoryview():
            content = b"x" + bytes(value)
        case _:
            # As PostgreSQL keeps a text with NUL.
            content = b"s" + str(value).replace("\0", "\N{REPLACEMENT CHARACTER}").encode()
    return struct.pack("<q", len(content)) + content
