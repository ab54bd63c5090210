"""Files of predictions: what is stored comes back, whatever the number of classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.predictions import TOP, Header, HeadPredictions, History, Predictions

NAMES = {"digit": ("zero", "one"), "parity": ("even", "odd")}
HEADER = Header(run="r", fence=1, epoch=3, step=30, dataset="digits", targets=NAMES, created_at=0.0)


def drawn(count: int, classes: int, seed: int = 0) -> HeadPredictions:
    random = np.random.default_rng(seed)
    raw = random.random((count, classes), np.float32)
    return HeadPredictions.of(raw / raw.sum(1, keepdims=True), random.integers(0, classes, count))


def history(epochs: list[int], images: int = 4, value: int = 0) -> History:
    return History(
        np.array(epochs, np.int32),
        {head: np.full((len(epochs), images), value, np.uint16) for head in NAMES},
        {head: np.full((len(epochs), images), 0.5, np.float16) for head in NAMES},
    )


@given(st.integers(0, 30), st.integers(2, 2 * TOP), st.integers(0, 9))
def test_predictions_come_back_as_they_were_stored(count: int, classes: int, seed: int) -> None:
    heads = {head: drawn(count, classes, seed) for head in NAMES}
    stored = Predictions(HEADER, {"test": heads}, history([1, 2]))
    read = Predictions.from_bytes(stored.to_bytes())
    assert read.header == HEADER
    assert list(read.parts) == ["test"]
    for head, found in heads.items():
        again = read.parts["test"][head]
        assert np.array_equal(again.labels, found.labels)
        assert np.array_equal(again.probabilities, found.probabilities)
        assert np.array_equal(again.predicted, found.predicted)
        assert np.array_equal(again.confidence, found.confidence)
    assert read.history is not None
    assert read.history.epochs.tolist() == [1, 2]


@given(st.integers(0, 30), st.integers(0, 2**16 - 1))
def test_a_history_alone_comes_back_with_its_true_classes(count: int, label: int) -> None:
    labels = {head: np.full(count, label, np.uint16) for head in NAMES}
    alone = replace(history([1, 2], count), labels=labels)
    for stored, expected in ((Predictions(HEADER, {}, alone), labels), (Predictions(HEADER, {}, history([1])), {})):
        read = Predictions.from_bytes(stored.to_bytes()).history
        assert read is not None
        assert {head: found.tolist() for head, found in read.labels.items()} == {
            head: found.tolist() for head, found in expected.items()
        }
    whole = Predictions.from_bytes(
        Predictions(HEADER, {"test": {each: drawn(3, 2) for each in NAMES}}, alone).to_bytes()
    )
    assert whole.history is not None
    assert whole.history.labels == {}, "they are with the probabilities"


def test_a_merged_history_knows_the_true_classes_if_one_of_its_parts_does() -> None:
    labels = {head: np.arange(4, dtype=np.uint16) for head in NAMES}
    first, second = replace(history([1, 2]), labels=labels), history([3])
    for parts in ([first, second], [second, first]):
        merged = History.merged(parts)
        assert merged is not None
        assert merged.labels == labels
        assert merged.until(1).labels == labels


@given(st.integers(TOP, 3 * TOP), st.integers(0, 9))
def test_of_many_classes_the_largest_probabilities_are_stored_in_order(classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw = random.random((20, classes), np.float32)
    labels = random.integers(0, classes, 20)
    found = HeadPredictions.of(raw, labels)
    assert found.classes is not None
    assert np.array_equal(found.predicted, raw.argmax(1))
    assert np.array_equal(found.probabilities, np.sort(raw, 1)[:, ::-1][:, :TOP].astype(np.float16))
    assert np.array_equal(found.true, raw[np.arange(20), labels].astype(np.float16))


def test_an_epoch_that_was_trained_twice_counts_as_it_was_the_last_time() -> None:
    merged = History.merged([history([1, 2, 3], value=1), history([3, 4], value=2)])
    assert merged is not None
    assert merged.epochs.tolist() == [1, 2, 3, 4]
    assert merged.predicted["digit"][:, 0].tolist() == [1, 1, 2, 2]
    assert History.merged([]) is None


@pytest.mark.parametrize("content", [b"", b"1234567", b"\xff" * 100, Predictions(HEADER).to_bytes()[:-3] + b"{{{"])
def test_what_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a file of predictions"):
        Predictions.from_bytes(content)
