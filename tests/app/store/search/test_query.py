"""The run table shows every run once, however it is sorted, filtered and paged."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.errors import QueryError
from app.store.database import next_commit, reading, writing
from app.store.metric import Curve, add_points
from app.store.queue import count_queued
from app.store.search.query import (
    RunFilter,
    RunPage,
    active_runs,
    count_runs,
    distinct_values,
    ended_runs,
    list_runs,
    runs_by_id,
)
from app.store.search.sorting import COLUMNS
from tests.conftest import Runs

NOW = 1_700_000_500.0


def listed(runs: Runs, sort: str = "-number", where: RunFilter | None = None, **said: Any) -> RunPage:
    with reading(runs.engine) as connection:
        return list_runs(connection, where or RunFilter(), sort, said.get("limit", 500), said.get("after"), NOW)


def ids(page: RunPage) -> list[str]:
    return [row.run.id for row in page.rows]


def give(runs: Runs, run: str, name: str, *values: float) -> None:
    with writing(runs.engine) as connection:
        steps = np.arange(len(values), dtype=np.int64)
        curve = Curve(steps, np.array(values), steps.astype(np.float64))
        add_points(connection, run, name, curve, next_commit(connection))


@pytest.fixture
def many(runs: Runs) -> list[str]:
    """Runs with equal values, missing values, and metrics that are missing or only NaN."""
    made = []
    for i in range(14):
        run = runs.add(
            1_700_000_000.0 + i // 2,
            family=["vit", "simple_cnn", "simple_mlp"][i % 3],
            size=["tiny", "base"][i % 2],
            dataset=["digits", "mnist"][i % 2],
            recipe=["default", "quick"][i // 7],
            seed=i % 4,
            epochs=5 + i % 3,
            batch_size=2 ** (4 + i % 3),
            lr=10.0 ** -(i % 3 + 1),
            name=["", "a", "B", "é"][i % 4],
            tags=["even"] if i % 2 == 0 else ["odd", "loud"],
        )
        changes: dict[str, Any] = {"params": None if i % 5 == 0 else 100 * (i % 4), "attempt": i % 3}
        if i % 4:
            changes |= {"status": "running", "started_at": 1_700_000_100.0 + i % 3}
        if i % 4 > 1:
            changes |= {"status": ["succeeded", "failed"][i % 2], "ended_at": 1_700_000_200.0 + i % 5}
        runs.set(run, **changes)
        if i % 3:
            give(runs, run, "test/acc", *([math.nan] if i == 4 else [0.1 * (i % 4), 0.05]))
        give(runs, run, "val/loss", 3.0 - i % 4)
        made.append(run)
    return made


SORTS = [f"{way}{key}" for key in [*COLUMNS, "test/acc", "val/loss", "no/such"] for way in ("", "-")]


@pytest.mark.parametrize("sort", SORTS)
def test_paging_shows_every_run_once_in_order_with_those_without_a_value_last(
    runs: Runs, many: list[str], sort: str
) -> None:
    whole = listed(runs, sort)
    assert sorted(ids(whole)) == sorted(many)
    assert whole.next is None
    values = [value_of(row, sort.lstrip("-")) for row in whole.rows]
    known = [value for value in values if value is not None]
    assert values == known + [None] * (len(values) - len(known))
    assert known == sorted(known, reverse=sort.startswith("-"))
    for size in (1, 3, 13, 14):
        seen, after = [], None
        for _ in range(20):
            page = listed(runs, sort, limit=size, after=after)
            assert page.total == len(many)
            seen += ids(page)
            after = page.next
            if after is None:
                break
        assert seen == ids(whole)


def value_of(row: Any, key: str) -> Any:
    if "/" in key:
        return row.summary[key].best if key in row.summary else None
    if key == "duration":
        started = row.run.started_at
        return None if started is None else (row.run.ended_at or NOW) - started
    return row.run.row[{"created": "created_at", "started": "started_at", "ended": "ended_at"}.get(key, key)]


def test_a_run_that_is_launched_meanwhile_disturbs_no_page(runs: Runs, many: list[str]) -> None:
    first = listed(runs, "-number", limit=5)
    runs.add()
    second = listed(runs, "-number", limit=500, after=first.next)
    assert ids(first) + ids(second) == many[::-1]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (RunFilter(status=["queued"]), {0, 4, 8, 12}),
        (RunFilter(status=["succeeded", "failed"]), {2, 3, 6, 7, 10, 11}),
        (RunFilter(family=["vit"]), {0, 3, 6, 9, 12}),
        (RunFilter(family=["vit"], size=["tiny"]), {0, 6, 12}),
        (RunFilter(dataset=["mnist", "digits"]), set(range(14))),
        (RunFilter(dataset=["cifar10"]), set()),
        (RunFilter(tag=["even"]), {0, 2, 4, 6, 8, 10, 12}),
        (RunFilter(tag=["odd", "loud"]), {1, 3, 5, 7, 9, 11, 13}),
        (RunFilter(tag=["odd", "even"]), set()),
        (RunFilter(q="simple_mlp base"), {5, 11}),
    ],
)
def test_a_filter_shows_the_runs_that_match_it(
    runs: Runs, many: list[str], where: RunFilter, expected: set[int]
) -> None:
    found = listed(runs, "-test/acc", where)
    assert set(ids(found)) == {many[i] for i in expected}
    assert found.total == len(expected)


def test_what_is_looked_for_is_taken_by_its_letters(runs: Runs) -> None:
    percent, under, slash = runs.add(name="100%"), runs.add(notes="a_b"), runs.add(name="c\\d")
    plain = runs.add(name="1000", notes="axb")
    for q, expected in {
        "%": [percent],
        "a_b": [under],
        "\\": [slash],
        "' OR 1=1 --": [],
        "100": [plain, percent],
        plain[-9:]: [plain],
    }.items():
        assert ids(listed(runs, where=RunFilter(q=q))) == expected, q


def test_a_deleted_run_is_not_listed(runs: Runs) -> None:
    gone, kept = runs.add(), runs.add()
    runs.set(gone, deleted_at=1.0, status="failed")
    assert ids(listed(runs)) == [kept]
    with reading(runs.engine) as connection:
        assert count_runs(connection, RunFilter()) == count_queued(connection) == 1
        assert [row.run.id for row in runs_by_id(connection, [kept, "r_none", gone])] == [kept]
        assert runs_by_id(connection, []) == []


def test_runs_asked_for_by_id_come_in_that_order(runs: Runs, many: list[str]) -> None:
    wanted = [many[3], many[1], many[7]]
    with reading(runs.engine) as connection:
        assert [row.run.id for row in runs_by_id(connection, wanted)] == wanted


def test_active_runs_are_those_in_hand_or_just_lost(runs: Runs) -> None:
    states = ("queued", "starting", "running", "finishing", "cancelling", "lost", "succeeded", "failed", "cancelled")
    for i, state in enumerate(states):
        runs.set(runs.add(), status=state, started_at=float(i))
    with reading(runs.engine) as connection:
        assert [row.run.status for row in active_runs(connection)] == list(states[1:6])


def test_runs_that_have_ended_come_with_the_latest_end_first(runs: Runs) -> None:
    def ended(at: float | None, status: str, deleted: float | None = None) -> str:
        run = runs.add()
        runs.set(run, status=status, ended_at=at, deleted_at=deleted)
        return run

    first, second = ended(5.0, "failed"), ended(5.0, "succeeded")
    third = ended(9.0, "cancelled")
    ended(None, "running")
    ended(8.0, "succeeded", deleted=10.0)
    with reading(runs.engine) as connection:
        assert [row.run.id for row in ended_runs(connection, 9)] == [third, second, first]
        assert [row.run.id for row in ended_runs(connection, 2)] == [third, second]


def test_what_can_be_chosen_is_what_runs_have_outside_the_trash(runs: Runs) -> None:
    with reading(runs.engine) as connection:
        assert distinct_values(connection, "family") == []
    runs.set(runs.add(family="vit", dataset="digits"), deleted_at=1.0)
    for family in ("simple_mlp", "simple_cnn", "simple_mlp"):
        runs.add(family=family, dataset="mnist")
    with reading(runs.engine) as connection:
        assert distinct_values(connection, "family") == ["simple_cnn", "simple_mlp"]
        assert distinct_values(connection, "dataset") == ["mnist"]


@pytest.mark.parametrize(("sort", "word"), [("color", "test/acc"), ("", "columns"), ("-", "columns"), ("id;", "id;")])
def test_a_sort_that_does_not_exist_is_answered_with_those_that_do(runs: Runs, sort: str, word: str) -> None:
    with pytest.raises(QueryError, match=word) as caught:
        listed(runs, sort)
    assert caught.value.field == "sort"
    assert "number" in str(caught.value)


def test_a_status_that_does_not_exist_is_answered_with_those_that_do(runs: Runs) -> None:
    with pytest.raises(QueryError, match="no status 'done'; statuses: queued") as caught:
        listed(runs, where=RunFilter(status=["done"]))
    assert caught.value.field == "status"


def cursor(*content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


WRONG = ["x", "====", "é", cursor(), cursor(1), cursor([1], 2), cursor({}, 2), cursor(1, "a"), cursor(1, 2.5)]
WRONG += [cursor(10**30, 1), cursor(1, 10**30), cursor(math.inf, 1), cursor(1, math.inf), cursor("\ud800", 1)]
WRONG += [base64.urlsafe_b64encode(b"[" * 300).decode(), cursor(1, None), cursor(1, True)]


@pytest.mark.parametrize("after", WRONG)
def test_a_cursor_of_no_list_is_refused(runs: Runs, after: str) -> None:
    with pytest.raises(QueryError) as caught:
        listed(runs, after=after)
    assert caught.value.field == "after"


@given(value=st.none() | st.booleans() | st.floats() | st.integers() | st.text("aé'\0"), number=st.integers())
def test_any_cursor_gives_runs_or_a_query_error(runs: Runs, value: Any, number: int) -> None:
    for sort in ("-number", "name", "test/acc"):
        try:
            assert listed(runs, sort, after=cursor(value, number)).total == 0
        except QueryError as error:
            assert error.field == "after"  # noqa: PT017


# The queue -----------------------------------------------------------------------------------------------------------
