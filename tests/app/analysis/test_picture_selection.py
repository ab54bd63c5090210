"""Which images are selected, and in what order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.analysis.picture_selection import Answers, Criteria, Sort, ranks, select

image = st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(0, 1, width=16), st.booleans())


def answers_of(images: list[tuple[int, int, float, bool]]) -> Answers:
    """What was predicted for images of (true class, predicted class, confidence, -)."""
    labels, predicted, confidence, _ = zip(*images, strict=True) if images else ((), (), (), ())
    return Answers(np.array(labels, np.uint16), np.array(predicted, np.uint16), np.array(confidence, np.float16))


@given(
    st.lists(image, max_size=40),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 3),
    st.none() | st.booleans(),
    st.sampled_from(["wrong", "unsure", "index"]),
)
def test_all_that_meet_the_criteria_are_there_once(
    images: list[tuple[int, int, float, bool]], true: int | None, predicted: int | None, right: bool | None, sort: Sort
) -> None:
    among = np.array([each[3] for each in images], bool)
    found = select(answers_of(images), Criteria(true, predicted, right, sort=sort), among=among).tolist()
    expected = [
        place
        for place, (label, answer, _, kept) in enumerate(images)
        if kept and true in (None, label) and predicted in (None, answer) and right in (None, label == answer)
    ]
    assert sorted(found) == expected
    for one, other in pairwise(found):
        (label, answer, sure, _), (next_label, next_answer, next_sure, _) = images[one], images[other]
        if sort == "unsure":
            assert sure <= next_sure
        elif sort == "index":
            assert one < other
        elif label == answer:
            assert next_label == next_answer
            assert sure <= next_sure
        elif next_label != next_answer:
            assert sure >= next_sure


@given(st.lists(image, max_size=40), st.integers(0, 14))
def test_each_image_is_in_one_bin_of_confidence(images: list[tuple[int, int, float, bool]], bins: int) -> None:
    edges = [place / (bins + 1) for place in range(bins + 2)]
    found = [
        index
        for low, high in pairwise(edges)
        for index in select(answers_of(images), Criteria(low=low, high=high)).tolist()
    ]
    assert sorted(found) == list(range(len(images)))


@given(st.lists(st.floats(0, 1, width=16), max_size=60), st.sampled_from([np.float16, np.float32, np.float64]))
def test_ranks_are_in_the_order_of_the_confidences(confidences: list[float], kind: type[np.floating]) -> None:
    values = np.array(confidences, kind)
    found = ranks(values)
    assert np.argsort(found, kind="stable").tolist() == np.argsort(values, kind="stable").tolist()
    # So much that twice the largest can be told, plus one.
    assert 2 * int(ranks(np.ones(1, kind))[0]) + 1 <= np.iinfo(found.dtype).max


def test_a_state_of_the_history_is_selected_and_what_was_forgotten_most_comes_first() -> None:
    answers = answers_of([(1, 1, 0.5, True)] * 3)
    history = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], bool)
    assert select(answers, Criteria(state="never"), history).tolist() == [1]
    assert select(answers, Criteria(state="always"), history).tolist() == [2]
    assert select(answers, Criteria(state="always")).tolist() == []
    assert select(answers, Criteria(sort="forgetting"), history).tolist() == [0, 1, 2]
