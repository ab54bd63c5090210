"""Every page of the run table equals a slice of all sorted runs, and is found without reading all of them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.contract.errors import QueryError
from app.store.database import reading, writing
from app.store.page_cursor import Cursor, read_cursor, write_cursor
from app.store.run import STATES
from app.store.search import query
from app.store.search.pagination import sort_all
from app.store.search.query import RunFilter, count_runs, list_runs
from app.store.search.sorting import COLUMNS, read_order
from tests.conftest import Runs

NOW = 1_700_000_500.0
FIGURES = ("test/acc", "val/loss", "test/acc.max", "val/loss.min")
SORTS = [f"{way}{key}" for key in [*COLUMNS, *FIGURES] for way in ("", "-")]
UNINDEXED = ["test/acc.last", "-val/loss.last", "-test/acc.min", "val/loss.max"]
SEVERAL = [
    "-test/acc,params",
    "params,-test/acc",
    "lr,-val/loss,name",
    "status,-duration",
    "-duration,lr",
    "size,lr,-params",
]


@dataclass
class Drawn:
    """A generated run; ``best``: best values of its metrics, None if no value was finite."""

    number: int = 0
    id: str = ""
    status: str = "queued"
    name: str = ""
    notes: str = ""
    family: str = "vit"
    size: str = "tiny"
    dataset: str = "mnist"
    lr: float = 0.1
    params: int | None = None
    created_at: float = 1_700_000_000.0
    started_at: float | None = None
    ended_at: float | None = None
    deleted_at: float | None = None
    tags: list[str] = field(default_factory=list)
    best: dict[str, float | None] = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """Its sort key."""
        if "/" in key:
            name, _, which = key.partition(".")
            best = self.best.get(name)
            return best if best is None or which in ("", "max" if "acc" in name else "min") else OTHERS[which](best)
        if key == "duration":
            ended = NOW if self.ended_at is None else self.ended_at
            return None if self.started_at is None else ended - self.started_at
        return getattr(self, {"created": "created_at", "started": "started_at", "ended": "ended_at"}.get(key, key), 1)

    def matches(self, where: RunFilter) -> bool:
        """Whether it matches the filter."""
        searched = (self.id, self.name, self.notes, f"{self.family} {self.size} {self.dataset}")
        return (
            self.deleted_at is None
            and all(
                not wanted or getattr(self, column) in wanted
                for column, wanted in vars(where).items()
                if column not in ("tag", "q")
            )
            and set(where.tag) <= set(self.tags)
            and any(where.q.lower() in words.lower() for words in searched)
        )


# Other columns of a generated series.
OTHERS = {"last": lambda best: 2 * best % 1.5, "min": lambda best: -(best % 0.75), "max": lambda best: 1 + best % 0.75}


def few(*values: Any) -> st.SearchStrategy[Any]:
    """Few distinct values, so that many are equal."""
    return st.sampled_from(values)


RUNS = st.lists(
    st.builds(
        Drawn,
        status=few(*STATES),
        name=few("", "a", "B", "100%", "é"),
        notes=few("", "a_b"),
        family=few("vit", "simple_mlp"),
        size=few("tiny", "base"),
        dataset=few("mnist", "digits"),
        lr=few(0.1, 0.01, 1e-5),
        params=few(None, 10, 20),
        created_at=few(1_700_000_000.0, 1_700_000_001.0),
        started_at=few(None, 1_700_000_100.0, 1_700_000_100.5),
        ended_at=few(None, 1_700_000_200.0, 1_700_000_200.25),
        deleted_at=few(None, None, None, 1_700_000_300.0),
        tags=st.lists(few("one", "two"), unique=True),
        best=st.dictionaries(few("test/acc", "val/loss"), few(None, 0.5, 0.75, 1.0)),
    ),
    max_size=14,
)
FILTERS = st.just(RunFilter()) | st.builds(
    RunFilter,
    status=st.lists(few(*STATES), max_size=6, unique=True),
    family=st.lists(few("vit", "simple_mlp"), max_size=2, unique=True),
    size=st.lists(few("tiny", "none"), max_size=1),
    dataset=st.lists(few("mnist", "digits"), max_size=1),
    tag=st.lists(few("one", "two"), max_size=2, unique=True),
    q=few("", "", "a", "i", "-vit", "%", "_", "VIT tiny", "r_"),
)


def plant(runs: Runs, drawn: list[Drawn]) -> None:
    """Replace the contents of the database with these runs."""
    with writing(runs.engine) as connection:
        connection.execute(text("DELETE FROM run"))
    for i, each in enumerate(drawn):
        each.id = runs.add(each.created_at, family=each.family, size=each.size, dataset=each.dataset, tags=each.tags)
        each.number = i + 1
    columns = ("status", "name", "notes", "lr", "params", "started_at", "ended_at", "deleted_at")
    with writing(runs.engine) as connection:
        for each in drawn:
            said = {column: getattr(each, column) for column in columns}
            sets = ", ".join(f"{column} = :{column}" for column in columns)
            connection.execute(text(f"UPDATE run SET {sets} WHERE id = :id"), said | {"id": each.id})
            for name, best in each.best.items():
                add_series(connection.execute, each.id, name, best)


def add_series(execute: Any, run: str, name: str, best: float | None) -> None:
    """Add a metric summary, as the recorder would."""
    values = {"run": run, "name": name, "best": best}
    values |= {which: None if best is None else OTHERS[which](best) for which in ("last", "min", "max")}
    execute(
        text(
            "INSERT INTO metric_series (run, run_number, name, points, first_step, last_step, last_time, low_step,"
            " high_step, best, best_step, not_finite, last, low, high)"
            " VALUES (:run, (SELECT number FROM run WHERE id = :run), :name, 1, 1, 1, 0, 0, 0, :best, 0, 0, :last,"
            " :min, :max)"
        ),
        values,
    )


def sorted_by_hand(drawn: list[Drawn], where: RunFilter, sort: str) -> list[str]:
    """Ids of matching runs, in order."""
    there = sorted((each for each in drawn if each.matches(where)), key=lambda each: -each.number)
    for part in reversed(sort.split(",")):
        key = part.lstrip("-")
        known = [each for each in there if each.value(key) is not None]
        known.sort(key=lambda each: each.value(key), reverse=part.startswith("-"))
        there = known + [each for each in there if each.value(key) is None]
    return [each.id for each in there]


@given(
    drawn=RUNS,
    where=FILTERS,
    sort=st.sampled_from([*SORTS, *UNINDEXED, *SEVERAL]),
    limit=st.integers(1, 5),
    at_once=few(0, 0, 2000),
    ahead=few(1, 4, 5000),
)
def test_the_pages_are_those_of_a_table_that_was_sorted_by_hand(
    runs: Runs, drawn: list[Drawn], where: RunFilter, sort: str, limit: int, at_once: int, ahead: int
) -> None:
    plant(runs, drawn)
    expected = sorted_by_hand(drawn, where, sort)
    seen: list[str] = []
    after: str | None = None
    with pytest.MonkeyPatch.context() as patch, reading(runs.engine) as connection:
        patch.setattr(query, "SORTED_AT_ONCE", at_once)
        patch.setattr(query, "FOUND_AT_ONCE", at_once)
        patch.setattr(query, "LOOKED_AHEAD", ahead)
        assert count_runs(connection, where) == len(expected)
        for _ in range(len(expected) // limit + 1):
            page = list_runs(connection, where, sort, limit, after, NOW)
            assert page.total == len(expected)
            seen += [row.run.id for row in page.rows]
            after = page.next
            if after is None:
                break
    assert seen == expected
    assert after is None


@pytest.mark.sqlite
def test_a_table_ten_times_as_long_costs_no_more_to_read(runs: Runs) -> None:
    lengthen(runs, 300)
    short = {sort: max(steps_of_pages(runs.engine, sort)) for sort in SORTS}
    lengthen(runs, 3000)
    long = {sort: max(steps_of_pages(runs.engine, sort)) for sort in SORTS}
    assert {sort: (short[sort], long[sort]) for sort in SORTS if long[sort] > 1.5 * short[sort]} == {}


def lengthen(runs: Runs, many: int) -> None:
    """Fill the table: one run in three shares all its values, one in ten has no metric."""
    with reading(runs.engine) as connection:
        have = count_runs(connection, RunFilter())
    first = runs.add() if not have else ""
    with writing(runs.engine) as connection:
        pattern = dict(connection.execute(text("SELECT * FROM run ORDER BY number LIMIT 1")).mappings().one())
        del pattern["trained_seconds"]
        for number in range(have + bool(first) + 1, many + 1):
            value = number if number % 3 else 7
            changed = {"id": f"r_{number:06}", "number": number, "seed": value, "lr": value / 1e4, "params": value}
            changed |= {"started_at": NOW - 100 - value, "ended_at": NOW - value / 2, "status": "succeeded"}
            row = pattern | changed
            connection.execute(
                text(f"INSERT INTO run ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})"), row
            )
            if number % 10:
                add_series(connection.execute, row["id"], "test/acc", value / many)
                add_series(connection.execute, row["id"], "val/loss", value / many)


def steps_of_pages(engine: Engine, sort: str) -> list[int]:
    """SQLite's virtual machine steps for each of the first ten pages."""
    found, after = [], None
    with reading(engine) as connection:
        database = connection.connection.driver_connection
        assert isinstance(database, sqlite3.Connection)
        for _ in range(10):
            steps = [0]

            def count(steps: list[int] = steps) -> int:
                steps[0] += 1
                return 0

            database.set_progress_handler(count, 10)
            after = list_runs(connection, RunFilter(), sort, 10, after, NOW).next
            database.set_progress_handler(None, 0)
            found.append(10 * steps[0])
    return found


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = read_cursor(write_cursor(0.1 + 0.2, 7))
    assert (cursor.value, cursor.number) == (0.1 + 0.2, 7)
    with pytest.raises(QueryError, match="invalid cursor"):
        read_cursor("x")
    cursor = read_cursor(write_cursor(None, 7, ("a", None)), further=2)
    assert cursor.then == ("a", None)
    # The cursor of a table that was sorted by fewer columns.
    with pytest.raises(QueryError, match="invalid cursor"):
        read_cursor(write_cursor(1, 7), further=1)


def test_a_sort_by_many_columns_or_by_what_there_is_not_says_so() -> None:
    assert [each.value for each in read_order("-test/acc,params,params", NOW).then] == ["run.params"]
    assert read_order("number,color-free/loss", NOW).then == ()
    with pytest.raises(QueryError, match="at most 3 columns"):
        read_order("lr,seed,epochs,params", NOW)
    with pytest.raises(QueryError, match="cannot sort by 'color'"):
        read_order("lr,-color", NOW)


def test_all_matches_are_sorted_by_several_keys_where_no_index_serves(engine: Engine) -> None:
    runs = Runs(engine)
    made = [runs.add() for _ in range(4)]
    for run, params, lr in zip(made, (2, 1, None, 1), (0.1, 0.2, 0.1, 0.1), strict=True):
        runs.set(run, params=params, lr=lr)
    with reading(engine) as connection:
        order = read_order("lr,-params,number", NOW)
        there = "run.deleted_at IS NULL"
        places, total = sort_all(connection, order, there, {}, 10, None, counting=True)
        assert [place.run for place in places] == [made[0], made[3], made[2], made[1]]
        assert total == 4
        assert sort_all(connection, order, there, {}, 10, None, counting=False) == (places, None)
        first = places[1]
        after = Cursor(first.value, first.number, first.then)
        rest, _ = sort_all(connection, order, there, {}, 10, after, counting=True)
        assert [place.run for place in rest] == [made[2], made[1]]
