"""PostgreSQL answers like SQLite: its transactions, its values and its functions."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Integer, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from app.store import database
from app.store.database import check_database, next_commit, open_database, reading, words_of, writing
from app.store.postgresql import DatabaseUnusable
from tests.app.store.test_database import MIGRATE
from tests.postgresql import MigratedDatabase, PostgreSQL


@pytest.fixture
def opened(postgresql_database: MigratedDatabase) -> Any:
    """A migrated PostgreSQL database."""
    engine = open_database(postgresql_database.url)
    yield engine
    engine.dispose()
    postgresql_database.reset()


# Opening -------------------------------------------------------------------------------------------------------------


def test_without_its_driver_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(DatabaseUnusable, match=r"pip install 'runyard\[postgres\]'"):
        open_database("postgresql://localhost/runyard")


@pytest.mark.parametrize("url", ["mysql://localhost/runyard", "runyard.db", "", "sqlite:/x", "postgresql//x"])
def test_a_url_of_another_database_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUnusable, match="must name a PostgreSQL database"):
        open_database(url)


def test_a_server_that_does_not_respond_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="cannot connect to the database of RUNYARD_DATABASE_URL: connection"):
        check_database(f"postgresql://a:secret@/b?host={tmp_path}")


def test_a_user_who_may_not_create_tables_is_told_the_remedy(postgresql: PostgreSQL) -> None:
    name = postgresql.create()
    postgresql.sql("CREATE ROLE guest LOGIN")
    url = postgresql.url(name).replace("runyard@", "guest@")
    remedy = f"ALTER DATABASE {name} OWNER TO guest"
    with pytest.raises(DatabaseUnusable, match=f"user guest may not create tables in the .*: {remedy}$"):
        check_database(url)
    postgresql.sql(remedy)
    check_database(url)


def test_several_processes_may_migrate_at_once(postgresql: PostgreSQL) -> None:
    url = postgresql.url(postgresql.create())
    started = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, url], stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    complaints = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], complaints
    engine = open_database(url)
    with reading(engine) as connection:
        assert connection.execute(text("SELECT value FROM commit_counter")).scalars().all() == [0]
    engine.dispose()


def _widths(_context: Any, _column: Any, _new: Any, found: Any, expected: Any) -> bool | None:
    # Each integer has 64 bits, as in SQLite.
    return False if isinstance(found, Integer) and isinstance(expected, Integer) else None


def _comparable(_what: object, name: str | None, *_more: object) -> bool:
    return name not in ("ix_run_queue", "ix_run_turn", "searched_text", "ix_searched_text_trigram")


def test_the_migrations_make_the_tables_that_the_code_describes(opened: Engine) -> None:
    with reading(opened) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _widths, "include_object": _comparable})
        assert compare_metadata(context, SQLModel.metadata) == []
        narrow = (
            "SELECT count(*) FROM information_schema.columns WHERE data_type = 'integer' AND table_schema = 'public'"
        )
        assert connection.execute(text(narrow)).scalar() == 0


# Transactions --------------------------------------------------------------------------------------------------------


def test_a_writer_waits_for_the_one_before_it_and_gives_up_in_time(
    opened: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    other = open_database(opened.url.render_as_string(hide_password=False))
    with writing(opened) as first:
        next_commit(first)
        with pytest.raises(OperationalError, match="lock timeout"), writing(other):
            raise AssertionError("two writers at once")
    with writing(other) as second:
        assert next_commit(second) == 2
    other.dispose()


def test_a_writer_sees_what_was_committed_while_it_waited(opened: Engine) -> None:
    waiting, done = threading.Event(), []

    def follow() -> None:
        waiting.set()
        with writing(opened) as connection:
            done.append(connection.execute(text("SELECT value FROM commit_counter")).scalar())

    with writing(opened) as connection:
        thread = threading.Thread(target=follow)
        thread.start()
        waiting.wait(10)
        next_commit(connection)
    thread.join(20)
    assert done == [1]


def test_a_reader_cannot_write(opened: Engine) -> None:
    with pytest.raises(Exception, match="read-only transaction"), reading(opened) as connection:
        next_commit(connection)


def test_connections_that_a_restart_broke_are_replaced(opened: Engine) -> None:
    other = open_database(opened.url.render_as_string(hide_password=False))
    with reading(opened) as connection:
        process = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with reading(other) as connection:
        assert connection.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process}).scalar()
    other.dispose()
    with reading(opened) as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != process


# Values --------------------------------------------------------------------------------------------------------------


def test_values_come_back_as_from_sqlite(opened: Engine) -> None:
    with writing(opened) as connection:
        connection.exec_driver_sql("CREATE TABLE note (number double precision, words text, whole bigint)")
        connection.execute(
            text("INSERT INTO note VALUES (:number, :words, :whole)"),
            [{"number": math.nan, "words": "a\0b", "whole": 2**62}, {"number": math.inf, "words": "ü", "whole": 2**62}],
        )
        found = connection.execute(text("SELECT number, words FROM note ORDER BY words")).all()
        assert [tuple(row) for row in found] == [(None, "a\N{REPLACEMENT CHARACTER}b"), (math.inf, "ü")]
        total, half = connection.execute(text("SELECT sum(whole), sum(whole) / 2.5e18 FROM note")).one()
        assert (total, type(total), type(half)) == (2**63, int, float)
        connection.exec_driver_sql("DROP TABLE note")


PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_characters="\0"))
JSON = st.dictionaries(st.text("abc", min_size=1, max_size=2), PLAIN | st.lists(PLAIN, max_size=3), max_size=4)


def _texts(connection: Connection, query: str, document: str) -> list[tuple[Any, ...]]:
    found = connection.execute(text(query), {"document": document}).all()
    return sorted(tuple(None if value is None else str(value) for value in row) for row in found)


@given(document=JSON)
def test_its_json_functions_say_what_those_of_sqlite_say(document: Any, opened: Engine) -> None:
    content = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    local = create_engine("sqlite://")
    queries = [
        "SELECT json_extract(:document, '$.a')",
        "SELECT key, value FROM json_each(CAST(:document AS TEXT))",
    ]
    # SQLite iterates over a value that is no list, too.
    if isinstance(document.get("b"), list):
        queries.append("SELECT key, value FROM json_each(CAST(:document AS TEXT), '$.b')")
    with reading(local) as expected, reading(opened) as found:
        for query in queries:
            assert _texts(found, query, content) == _texts(expected, query, content)
        number = document.get("a")
        said = found.execute(
            text(f"SELECT {words_of(found).json_number}(:document, '$.a')"), {"document": content}
        ).scalar()
        assert said == (number if isinstance(number, int | float) else None)
    local.dispose()


@given(document=JSON, value=st.text('a"\\é{}: ', max_size=4))
def test_it_changes_json_as_sqlite_does(document: Any, value: str, opened: Engine) -> None:
    content = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    local = create_engine("sqlite://")
    queries = (
        "SELECT json_remove(:document, '$.a', '$.missing')",
        "SELECT json_set(:document, '$.a', :value)",
        "SELECT json_set(:document, '$.missing', :value)",
    )
    with reading(local) as expected, reading(opened) as found:
        for query in queries:
            values = {"document": content, "value": value}
            said = found.execute(text(query), values).scalar_one()
            # Order and nesting count as well as values.
            assert json.loads(said) == json.loads(expected.execute(text(query), values).scalar_one())
            assert list(json.loads(said)) == list(json.loads(expected.execute(text(query), values).scalar_one()))
    local.dispose()


@pytest.mark.parametrize("name", ["lr", "model.lr", "lr, initial", "a b"])
def test_it_finds_quoted_names_in_json(name: str, opened: Engine) -> None:
    document = {"options": {name: "0.25", "other": "1"}}
    with reading(opened) as found:
        query = text("SELECT json_extract(:document, :path)")
        values = {"document": json.dumps(document), "path": f'$.options."{name}"'}
        assert found.execute(query, values).scalar() == "0.25"


NUMBERS = [
    "0.1",
    " -2.5e-3x",
    ".5",
    "1.",
    "+7",
    "sgd",
    "",
    "-",
    "1e5",
    "1e",
    "1e999",
    "-1e9999",
    "1e-999",
    "nan",
    "inf",
]


@given(value=st.sampled_from(NUMBERS) | st.floats(allow_nan=False).map(repr) | st.text("0123456789.+-e ", max_size=8))
def test_its_numbers_that_begin_a_text_are_those_of_sqlite(value: str, opened: Engine) -> None:
    local = create_engine("sqlite://")
    with reading(local) as expected, reading(opened) as found:
        said = [
            connection.execute(
                text(f"SELECT {words_of(connection).text_number.format('CAST(:value AS TEXT)')}"), {"value": value}
            ).scalar()
            for connection in (found, expected)
        ]
    # SQLite 3.40 converts some texts to the neighbor of the nearest number.
    assert said[0] == pytest.approx(said[1], rel=1e-15, abs=1e-300)
    local.dispose()


MARKS = st.text("ab*?[]%_\\", max_size=5)


@given(pattern=MARKS, value=MARKS)
def test_its_glob_is_that_of_sqlite(pattern: str, value: str, opened: Engine) -> None:
    # As filters of MLflow make them.
    marks = {"*": "[*]", "?": "[?]", "[": "[[]", "%": "*", "_": "?"}
    values = {"pattern": "".join(marks.get(each, each) for each in pattern), "value": value}
    local = create_engine("sqlite://")
    with reading(local) as expected, reading(opened) as found:
        query = text("SELECT glob(:pattern, :value)")
        assert found.execute(query, values).scalar() == bool(expected.execute(query, values).scalar())
    local.dispose()
