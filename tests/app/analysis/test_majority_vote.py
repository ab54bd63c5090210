"""The majority vote of several networks."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.majority_vote import majority_vote


def test_of_equally_many_votes_the_surer_ones_win() -> None:
    predicted = [np.array([1, 1], np.uint16), np.array([2, 2], np.uint16), np.array([3, 1], np.uint16)]
    confidence = [np.array([0.5, 0.1]), np.array([0.9, 1.0]), np.array([0.6, 0.1])]
    assert majority_vote(predicted, confidence).tolist() == [2, 1]


network = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=5, max_size=5)


@given(st.lists(network, min_size=1, max_size=7))
def test_no_class_has_more_votes_than_the_chosen_one(networks: list[list[tuple[int, float]]]) -> None:
    predicted = [np.array([each[0] for each in network], np.uint16) for network in networks]
    confidence = [np.array([each[1] for each in network]) for network in networks]
    for image, chosen in enumerate(majority_vote(predicted, confidence).tolist()):
        votes = Counter(int(network[image]) for network in predicted)
        assert votes[chosen] == max(votes.values())
