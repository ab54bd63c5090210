"""Calibration: equal to torchmetrics, and true to its definition."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassCalibrationError

from app.analysis.calibration import BINS, calibration, coverage
from app.contract.predictions import HeadPredictions


def predicted(images: int, classes: int, sharpness: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Probabilities, some of them exactly 1 in half precision, and true classes."""
    chance = np.random.default_rng(int(sharpness * 100) + classes)
    logits = chance.normal(0, sharpness, (images, classes))
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    labels = np.where(chance.random(images) < 0.8, logits.argmax(1), chance.integers(0, classes, images))
    probabilities = (exponents / exponents.sum(1, keepdims=True)).astype(np.float32)
    # Where two classes are equally likely in half precision, which one is predicted is nobody's definition.
    two = np.sort(probabilities.astype(np.float16), 1)[:, -2:]
    clear = two[:, 0] < two[:, 1]
    return probabilities[clear], labels[clear]


@pytest.mark.parametrize("sharpness", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("classes", [2, 10, 50])
def test_the_error_is_that_of_torchmetrics(classes: int, sharpness: float) -> None:
    probabilities, labels = predicted(4000, classes, sharpness)
    kept = HeadPredictions.of(probabilities, labels)
    found = calibration(kept.confidence, kept.predicted == kept.labels)
    halves = torch.from_numpy(probabilities).half().float()
    measure = MulticlassCalibrationError(classes, n_bins=BINS, norm="l1")
    assert found.error == pytest.approx(float(measure(halves, torch.from_numpy(labels))), abs=2e-6)


def test_bins_are_of_equal_width_and_the_last_one_includes_one() -> None:
    confidence = np.array([0.0, 1 / 15 + 1e-3, 0.95, 1.0, 1.0], np.float16)
    found = calibration(confidence, np.array([False, True, True, True, False]))
    assert len(found.bins) == 15
    assert [each.count for each in found.bins] == [1, 1] + [0] * 12 + [3]
    assert found.bins[-1].accuracy == pytest.approx(2 / 3)
    assert found.bins[5].accuracy is None
    assert found.bins[5].low == pytest.approx(found.bins[4].high) == pytest.approx(1 / 3)


def test_without_images_there_is_no_error() -> None:
    found = calibration(np.zeros(0, np.float16), np.zeros(0, bool))
    assert found.error is None
    open_ended = coverage(np.zeros(0, np.float16), np.zeros(0, bool))
    assert not open_ended.coverage.any()
    assert np.isnan(open_ended.accuracy).all()


images = st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), min_size=1, max_size=80)


@given(images)
def test_coverage_counts_images_that_are_at_least_this_sure(images: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([each[0] for each in images], np.float16), np.array([each[1] for each in images])
    found = coverage(confidence, right)
    assert found.coverage[0] == 1
    assert found.accuracy[0] == pytest.approx(right.mean())
    assert (np.diff(found.coverage) <= 0).all()
    for threshold, share, hits in zip(found.thresholds, found.coverage, found.accuracy, strict=True):
        answered = confidence >= np.float16(threshold)
        assert share == pytest.approx(answered.mean())
        assert hits == pytest.approx(right[answered].mean()) if answered.any() else np.isnan(hits)


@given(images)
def test_every_image_is_in_one_bin(images: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([each[0] for each in images], np.float16), np.array([each[1] for each in images])
    found = calibration(confidence, right)
    assert sum(each.count for each in found.bins) == len(images)
    assert sum(each.count * (each.accuracy or 0) for each in found.bins) == pytest.approx(right.sum())
    assert found.error is not None
    assert 0 <= found.error <= 1


def test_sixty_thousand_images_take_a_fraction_of_a_second() -> None:
    chance = np.random.default_rng(0)
    confidence, right = chance.random(60_000).astype(np.float16), chance.random(60_000) < 0.9
    spent = []
    for _ in range(3):
        begun = time.process_time()
        calibration(confidence, right)
        coverage(confidence, right)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.1
