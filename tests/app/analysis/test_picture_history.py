"""The history of an image: its state after the last epoch, and how often it was forgotten."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.analysis.picture_history import STATES, forgetting_events, right_by_epoch, states


def test_an_image_is_always_learned_forgotten_or_never() -> None:
    predicted = np.array([[3, 1, 3, 1, 3], [3, 1, 1, 3, 1], [3, 3, 1, 1, 3]], np.uint16)
    right = right_by_epoch(predicted, np.full(5, 3, np.uint16))
    assert [STATES[state] for state in states(right)] == ["always", "learned", "forgotten", "forgotten", "learned"]
    assert forgetting_events(right).tolist() == [0, 0, 1, 1, 1]
    assert [STATES[state] for state in states(~right[:, :1])] == ["never"]


@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 20))), st.data())
def test_states_tell_what_the_epochs_say(right: npt.NDArray[np.bool_], data: st.DataObject) -> None:
    image = data.draw(st.integers(0, right.shape[1] - 1))
    column = right[:, image].tolist()
    state = STATES[states(right)[image]]
    assert (state in ("always", "learned")) == column[-1]
    assert (state == "never") == (not any(column))
    assert (state == "always") == all(column)
    events = sum(before and not after for before, after in pairwise(column))
    assert forgetting_events(right)[image] == events
    if state == "forgotten":
        assert events >= 1
