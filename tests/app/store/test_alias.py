"""Names of models: each points to one run, and its history tells of every move."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from app.store import alias
from app.store.alias import (
    ALIAS,
    TooManyAliases,
    aliases_of,
    find_alias,
    list_aliases,
    list_moves,
    point_alias,
    remove_alias,
)
from app.store.database import reading, writing
from tests.conftest import Runs

NAMES = ("digits-production", "digits-candidate")
step = st.tuples(st.sampled_from(NAMES), st.none() | st.integers(0, 2))


@given(st.lists(step, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_names_are_where_they_were_moved_last_and_their_histories_lead_there(
    runs: Runs, engine: Engine, steps: list[tuple[str, int | None]]
) -> None:
    ids = [runs.add() for _ in range(3)]
    numbers = [runs.get(run).number for run in ids]
    expected: dict[str, int] = {}
    moves: dict[str, list[tuple[int | None, int | None]]] = {name: [] for name in NAMES}
    with writing(engine) as connection:
        connection.exec_driver_sql("DELETE FROM alias")
        connection.exec_driver_sql("DELETE FROM alias_move")
        for now, (name, place) in enumerate(steps):
            before = expected.get(name)
            if place is None:
                assert remove_alias(connection, name, now) == (before is not None)
                expected.pop(name, None)
            else:
                assert point_alias(connection, name, ids[place], now) == (before != place)
                expected[name] = place
            after = expected.get(name)
            if before != after:
                moves[name].append((_at(numbers, before), _at(numbers, after)))
    with reading(engine) as connection:
        found = list_aliases(connection)
        assert [each.name for each in found] == sorted(expected)
        for each in found:
            assert (each.run, each.number) == (ids[expected[each.name]], numbers[expected[each.name]])
            assert find_alias(connection, each.name) == each
        for name in NAMES:
            assert [(move.before, move.after) for move in reversed(list_moves(connection, name))] == moves[name]
        by_run = aliases_of(connection, ids)
    assert by_run == {
        run: names
        for place, run in enumerate(ids)
        if (names := sorted(name for name, where in expected.items() if where == place))
    }


def _at(numbers: list[int], place: int | None) -> int | None:
    return None if place is None else numbers[place]


def test_a_move_says_when_and_by_whom_and_outlives_the_run(runs: Runs, engine: Engine) -> None:
    first, second = runs.add(), runs.add()
    with writing(engine) as connection:
        point_alias(connection, "digits-production", first, 5.0, "ada")
        point_alias(connection, "digits-production", second, 6.0)
        connection.execute(text("DELETE FROM run WHERE id = :id"), {"id": first})
        newest, oldest = list_moves(connection, "digits-production")
    assert (newest.before, newest.after, newest.by, newest.after_id, newest.at) == (1, 2, "", second, 6.0)
    assert (oldest.before, oldest.after, oldest.by, oldest.after_id) == (None, 1, "ada", "")


def test_a_run_that_a_name_points_to_cannot_vanish(runs: Runs, engine: Engine) -> None:
    run = runs.add()
    with writing(engine) as connection:
        point_alias(connection, "digits-production", run, 5.0)
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(text("DELETE FROM run WHERE id = :id"), {"id": run})


def test_the_number_of_names_is_limited_but_those_there_are_move_on(
    runs: Runs, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alias, "MAX_ALIASES", 1)
    first, second = runs.add(), runs.add()
    with writing(engine) as connection:
        assert point_alias(connection, "one", first, 1.0)
        with pytest.raises(TooManyAliases, match="limit of 1 aliases reached"):
            point_alias(connection, "two", first, 2.0)
        assert point_alias(connection, "one", second, 3.0)
        assert [each.name for each in list_aliases(connection)] == ["one"]


@pytest.mark.parametrize("name", ["digits-production", "a", "v1.2", "a_b"])
def test_words_are_names(name: str) -> None:
    assert ALIAS.match(name)


@pytest.mark.parametrize("name", ["", "r_abc", "Digits", "1a", "a--b", "-a", "a-", "a b", "a/b", "ä"])
def test_what_could_be_a_run_a_path_or_a_typo_is_no_name(name: str) -> None:
    assert not ALIAS.match(name)
