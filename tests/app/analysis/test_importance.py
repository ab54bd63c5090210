"""Importance of swept fields from the results of runs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.importance import importances


def test_the_field_that_decides_has_all_of_it() -> None:
    points = [({"lr": lr, "flip": flip}, lr) for lr in (0.1, 0.2, 0.3) for flip in (True, False)]
    assert importances(points, ["lr", "flip"], drawn=False) == {"lr": pytest.approx(1.0), "flip": 0.0}


def test_two_fields_that_add_up_share_it() -> None:
    points = [({"a": a, "b": b}, 2 * a + b) for a in range(4) for b in range(4)]
    found = importances(points, ["b", "a"], drawn=False)
    assert list(found) == ["a", "b"]
    assert 0.6 < found["a"] < 0.85
    assert sum(found.values()) < 1.0


def test_numbers_that_were_drawn_are_grouped() -> None:
    dice = random.Random(1)
    points: list[tuple[dict[str, Any], float]] = []
    for _ in range(60):
        values = {"lr": 10 ** dice.uniform(-4, 0), "width": dice.randint(1, 10_000)}
        points.append((values, -abs(values["lr"] - 0.01)))
    found = importances(points, ["lr", "width"], drawn=True)
    assert found["lr"] > 0.6
    assert found["width"] < 0.2


def test_too_few_runs_tell_nothing() -> None:
    points = [({"lr": lr}, lr) for lr in (0.1, 0.2, 0.3, 0.4)]
    assert importances(points, ["lr"], drawn=True) == {}
    # A different value for each is no evidence either.
    words = [({"optimizer": name}, float(i)) for i, name in enumerate("abcdefg")]
    assert importances(words, ["optimizer"], drawn=True) == {}


@given(
    points=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), st.integers(0, 9) | st.booleans() | st.text(max_size=2)),
            st.floats(allow_nan=True, allow_infinity=True, width=16),
        ),
        max_size=30,
    ),
    drawn=st.booleans(),
)
def test_every_share_lies_between_nothing_and_all(points: list[tuple[dict[str, Any], float]], drawn: bool) -> None:
    assert all(0 <= share <= 1 for share in importances(points, ["a", "b", "c"], drawn).values())
