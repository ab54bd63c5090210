"""Confusion matrices: as scikit-learn counts them, and in what order classes stand."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from app.analysis.class_scores import class_scores
from app.analysis.confusion import Order, accuracy, class_order, confusion_matrix, top_confusions


def guessed(images: int, classes: int, skill: float = 0.7) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """True and predicted classes, of which a share of ``skill`` is the same for sure."""
    chance = np.random.default_rng(images + classes)
    labels = chance.integers(0, classes, images, np.uint16)
    predicted = np.where(chance.random(images) < skill, labels, chance.integers(0, classes, images)).astype(np.uint16)
    return labels, predicted


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(pairs)
def test_it_counts_as_scikit_learn_does(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(side, np.uint16) for side in zip(*pairs, strict=True))
    matrix = confusion_matrix(labels, predicted, 7)
    assert matrix.tolist() == metrics.confusion_matrix(labels, predicted, labels=range(7)).tolist()
    assert accuracy(matrix) == pytest.approx(metrics.accuracy_score(labels, predicted))


@given(pairs)
def test_scores_are_those_of_scikit_learn_with_zero_for_a_zero_denominator(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(side, np.uint16) for side in zip(*pairs, strict=True))
    found = class_scores(confusion_matrix(labels, predicted, 7))
    expected = metrics.precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=0)
    for own, other in zip((found.precision, found.recall, found.f1, found.support), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12)
    assert found.undefined == (len(set(labels)) < 7 or len(set(predicted)) < 7)


def test_the_matrix_of_no_image_has_no_accuracy() -> None:
    none = np.zeros(0, np.uint16)
    matrix = confusion_matrix(none, none, 3)
    assert matrix.shape == (3, 3)
    assert np.isnan(accuracy(matrix))
    assert top_confusions(matrix, 5) == []


@given(pairs, st.integers(0, 50))
def test_top_confusions_are_the_largest_cells_beside_the_diagonal(pairs: list[tuple[int, int]], most: int) -> None:
    labels, predicted = (np.array(side, np.uint16) for side in zip(*pairs, strict=True))
    matrix = confusion_matrix(labels, predicted, 7)
    found = top_confusions(matrix, most)
    assert len(found) == min(most, np.count_nonzero(matrix - np.diag(np.diag(matrix))))
    for each in found:
        assert each.true != each.predicted
        assert each.count == matrix[each.true, each.predicted] > 0
        assert each.of == matrix[each.true].sum()
    left = matrix - np.diag(np.diag(matrix))
    for each in found:
        assert each.count == left.max()
        left[each.true, each.predicted] = 0


@given(pairs, st.sampled_from(["class", "error", "cluster"]))
def test_an_order_has_each_class_once(pairs: list[tuple[int, int]], by: Order) -> None:
    labels, predicted = (np.array(side, np.uint16) for side in zip(*pairs, strict=True))
    assert sorted(class_order(confusion_matrix(labels, predicted, 7), by).tolist()) == list(range(7))


def test_by_error_the_worst_class_comes_first_and_one_without_images_last() -> None:
    matrix = np.array([[9, 1, 0, 0], [5, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 7]])
    assert class_order(matrix, "error").tolist() == [1, 0, 3, 2]


def test_clustering_puts_classes_side_by_side_that_are_taken_for_each_other() -> None:
    matrix = np.diag([50] * 6)
    for one, other in ((0, 4), (2, 5), (1, 3)):
        matrix[one, other] = matrix[other, one] = 20
    order = class_order(matrix, "cluster").tolist()
    for one, other in ((0, 4), (2, 5), (1, 3)):
        assert abs(order.index(one) - order.index(other)) == 1


@pytest.mark.parametrize(("images", "classes"), [(60_000, 10), (50_000, 1000)])
def test_many_images_and_classes_take_a_fraction_of_a_second(images: int, classes: int) -> None:
    labels, predicted = guessed(images, classes)
    class_order(confusion_matrix(labels[:9], predicted[:9], classes)[:4, :4], "cluster")
    spent = []
    for _ in range(3):
        begun = time.process_time()
        matrix = confusion_matrix(labels, predicted, classes)
        class_scores(matrix)
        top_confusions(matrix, 20)
        class_order(matrix, "cluster")
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.3
