"""Steps are read as they were packed, in any mixture of the two widths, and small ones take half of the bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.packed_steps import pack_steps, unpack_steps
from app.contract.steps import LARGEST_STEP, SMALLEST_STEP

ANY = st.integers(SMALLEST_STEP, LARGEST_STEP)
SMALL = st.integers(0, 2**32 - 1)


def packed(steps: list[int]) -> bytes:
    return pack_steps(np.array(steps, np.int64), min(steps, default=0), max(steps, default=0))


@given(parts=st.lists(st.one_of(st.lists(SMALL, max_size=5), st.lists(ANY, max_size=5)), max_size=6))
def test_joined_arrays_are_the_steps_that_were_packed(parts: list[list[int]]) -> None:
    found = unpack_steps([packed(part) for part in parts], [len(part) for part in parts])
    assert found.dtype == np.int64
    assert found.tolist() == [step for part in parts for step in part]


@pytest.mark.parametrize(
    ("steps", "width"), [([0, 2**32 - 1], 4), ([0, 2**32], 8), ([-1, 0], 8), ([SMALLEST_STEP, LARGEST_STEP], 8)]
)
def test_an_array_is_as_narrow_as_its_steps_allow(steps: list[int], width: int) -> None:
    assert len(packed(steps)) == width * len(steps)


def test_bytes_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="7 bytes are not 1 steps"):
        unpack_steps([bytes(7), bytes(8)], [1, 1])
