"""The ids of live events: how much a browser has received."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.live import Cursor


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**62))
def test_an_event_id_reads_back_as_it_was_written(metrics: int, log: int, state: int) -> None:
    for cursor in (Cursor(metrics, log, state), Cursor(state, state, state)):
        assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("words", ["", "x", "1.2", "1.2.3.4", "-1", "1.-2.3", "9" * 30, "1..2", "NaN"])
def test_words_that_are_no_event_id_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Cursor.parse(words)
