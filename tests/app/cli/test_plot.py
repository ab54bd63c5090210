"""Curves drawn with braille characters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.plot import Line, plot


def drawn(*lines: Line, width: int = 24, height: int = 7) -> list[str]:
    return plot("loss", lines, width, height).plain.splitlines()


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    lines = drawn(Line("a", [0, 1, 2, 3], [0, 1, 2, 3]))
    assert lines[0] == "loss"
    assert lines[1].startswith("3 ┤")
    assert lines[4].startswith("0 ┤")
    rows = [line.partition("┤")[2] for line in lines[1:5]]
    first = [min(i for i, letter in enumerate(row) if letter != "⠀") for row in rows]
    assert first == sorted(first, reverse=True)
    assert rows[0][-1] != "⠀" != rows[-1][0]
    assert lines[5].split() == ["0", "3"]
    assert lines[6] == "— a  "


@pytest.mark.parametrize(
    ("steps", "labels"),
    [([-5, 1_764_000_000_000], ["−5", "1,764,000,000,000"]), ([0.5, 2**62], ["0.5", "4,611,686,018,427,387,904"])],
)
def test_steps_are_written_out_below_the_axis(steps: list[float], labels: list[str]) -> None:
    assert drawn(Line("a", steps, [1.0, 2.0]), width=60)[5].split() == labels


def test_a_level_line_is_drawn_in_the_middle_and_a_single_point_too() -> None:
    for xs in ([1, 2, 3], [1]):
        rows = [line.partition("┤")[2] for line in drawn(Line("a", xs, [5.0] * len(xs)))[1:5]]
        assert [any(letter != "⠀" for letter in row) for row in rows] in (
            [False, True, False, False],
            [False, False, True, False],
        )


def test_without_a_point_that_is_said() -> None:
    assert drawn()[1] == "no points yet"
    assert drawn(Line("a", [1, 2], [math.nan, math.inf]))[1] == "no points yet"


@pytest.mark.parametrize(("width", "height"), [(10, 4), (24, 7), (90, 12)])
@given(
    points=st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e30, 1e30) | st.just(math.nan)), max_size=30),
    others=st.lists(st.tuples(st.integers(0, 10), st.floats(0, 1)), max_size=5),
)
def test_whatever_the_points_the_picture_has_its_size(
    width: int, height: int, points: list[tuple[int, float]], others: list[tuple[int, float]]
) -> None:
    curves = [Line(name, [x for x, _ in each], [y for _, y in each]) for name, each in (("a", points), ("b", others))]
    lines = drawn(*curves, width=width, height=height)
    if lines[1] != "no points yet":
        rows = lines[1:-2]
        assert len(rows) == max(2, height - 3)
        assert len({len(row) for row in rows}) == 1
        assert any("⠀" < letter <= "⣿" for row in rows for letter in row)
