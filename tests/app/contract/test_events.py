"""Metric points are decoded exactly as encoded, and truncated entries are refused."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.events import (
    SUPERVISOR_EVENTS,
    TRAINER_EVENTS,
    LogLine,
    Points,
    Started,
    entry,
    pack_points,
    unpack_points,
)
from app.contract.packed_steps import pack_steps
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP


@st.composite
def series(draw: st.DrawFn) -> Points:
    steps = draw(st.sampled_from([st.integers(0, 2**32 - 1), st.integers(SMALLEST_STEP, LARGEST_STEP)]))
    pairs = draw(st.lists(st.tuples(steps, st.floats(), st.floats(width=32)), max_size=20))
    numbers = [pair[0] for pair in pairs]
    return Points(
        draw(st.text("ab/_ é∂🎉\0", max_size=30)),
        len(pairs),
        pack_steps(np.array(numbers, np.int64), min(numbers, default=0), max(numbers, default=0)),
        np.array([pair[1] for pair in pairs], "<f8").tobytes(),
        np.array([pair[2] for pair in pairs], "<f4").tobytes(),
    )


@given(base=st.floats(), sent=st.lists(series(), max_size=5))
def test_points_arrive_as_they_were_sent(base: float, sent: list[Points]) -> None:
    arrived_base, arrived = unpack_points(pack_points(base, sent))
    assert arrived == sent
    assert arrived_base == base or (math.isnan(arrived_base) and math.isnan(base))


def test_an_entry_of_an_earlier_version_is_read() -> None:
    steps, values, offsets = struct.pack("<2I", 7, 2**32 - 1), struct.pack("<2d", 0.5, 0.25), struct.pack("<2f", 0, 1)
    body = struct.pack("<dH", 1000.0, 1) + struct.pack("<HI", 4, 2) + b"loss" + steps + values + offsets
    assert unpack_points(body) == (1000.0, [Points("loss", 2, steps, values, offsets)])


@given(sent=st.lists(series(), max_size=4), data=st.data())
def test_points_that_were_cut_off_are_refused(sent: list[Points], data: st.DataObject) -> None:
    body = pack_points(1.0, sent)
    length = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ValueError, match=r"truncated|not a metrics entry"):
        unpack_points(body[:length])


@given(sent=st.lists(series(), max_size=3), more=st.binary(min_size=1, max_size=20))
def test_points_that_something_follows_are_refused(sent: list[Points], more: bytes) -> None:
    with pytest.raises(ValueError, match="unexpected data after"):
        unpack_points(pack_points(1.0, sent) + more)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_points_or_a_value_error(body: bytes) -> None:
    try:
        base, found = unpack_points(body)
    except ValueError:
        return
    again = pack_points(base, found)
    assert again[8:] == body[8:]
    assert math.isnan(base) or again == body


def test_an_entry_says_run_attempt_and_number() -> None:
    assert entry("r_1", 2, 3, "log", b"x") == {"r": "r_1", "f": 2, "s": 3, "k": "log", "b": b"x"}


def test_kinds_of_trainer_and_supervisor_do_not_overlap() -> None:
    assert not set(TRAINER_EVENTS) & set(SUPERVISOR_EVENTS)
    assert "metrics" not in TRAINER_EVENTS | SUPERVISOR_EVENTS


@pytest.mark.parametrize("step", [-1, 2**63, 10**30])
def test_a_number_that_no_database_holds_is_refused(step: int) -> None:
    with pytest.raises(ValidationError):
        Started(step=step, epoch=0, params=1, environment={})


@pytest.mark.parametrize("time", [math.nan, math.inf, -1.0, 1e300])
def test_a_time_that_is_none_is_refused(time: float) -> None:
    with pytest.raises(ValidationError):
        LogLine(time=time, level="info", text="")
