"""Images are split at random, by class, with equal images on one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.data.importing.names import TEST, TRAIN, VALIDATION
from worker.data.importing.splitting import duplicate_groups, split

_images = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), min_size=1, max_size=80)
_shares = st.floats(0.01, 0.5)


@given(_images, _shares, _shares, st.integers(0, 2**32 - 1))
def test_every_split_keeps_its_promises(
    images: list[tuple[int, int]], validation: float, test: float, seed: int
) -> None:
    labels, groups = (np.array(values, np.int64) for values in zip(*images, strict=True))
    parts = split(labels, groups, validation=validation, test=test, seed=seed)
    assert set(parts.tolist()) <= {TRAIN, VALIDATION, TEST}
    for group in np.unique(groups):
        assert len(set(parts[groups == group].tolist())) == 1
    assert set(labels[parts == TRAIN].tolist()) == set(labels.tolist())
    again = split(labels, 1000 - groups, validation=validation, test=test, seed=seed)
    assert (parts == again).all()


@given(st.lists(st.integers(20, 60), min_size=2, max_size=6), st.integers(0, 100))
def test_each_class_has_its_share_in_every_part(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = split(labels, np.arange(len(labels)), validation=0.1, test=0.2, seed=seed)
    assert (parts == TEST).sum() == round(0.2 * len(labels))
    assert (parts == VALIDATION).sum() == round(0.1 * len(labels))
    for label, count in enumerate(counts):
        assert abs((parts[labels == label] == TEST).sum() - 0.2 * count) <= 1.5
        assert abs((parts[labels == label] == VALIDATION).sum() - 0.1 * count) <= 2


def test_another_seed_makes_another_split() -> None:
    labels, groups = np.repeat(np.arange(3), 30), np.arange(90)
    one, other = (split(labels, groups, validation=0.1, test=0.1, seed=seed) for seed in (0, 1))
    assert (one != other).any()


def test_a_split_never_changes_with_a_version_of_this_program() -> None:
    parts = split(np.repeat(np.arange(2), 10), np.arange(20), validation=0.1, test=0.1, seed=7)
    assert np.flatnonzero(parts == TEST).tolist() == [6, 19]
    assert np.flatnonzero(parts == VALIDATION).tolist() == [1, 16]


@pytest.mark.parametrize("seed", range(20))
def test_a_class_with_one_image_has_it_in_training(seed: int) -> None:
    labels = np.array([0] * 30 + [1])
    assert split(labels, np.arange(31), validation=0.4, test=0.4, seed=seed)[30] == TRAIN


@pytest.mark.parametrize("seed", range(10))
def test_four_images_of_two_classes_are_enough_for_three_parts(seed: int) -> None:
    parts = split(np.array([0, 0, 1, 1]), np.arange(4), validation=0.1, test=0.1, seed=seed)
    assert np.bincount(parts, minlength=3).tolist() == [2, 1, 1]


def test_equal_checksums_are_one_group() -> None:
    checksums = np.array([[1, 2], [3, 4], [1, 2], [1, 4], [3, 4]], np.uint64)
    groups = duplicate_groups(checksums)
    assert len(set(groups.tolist())) == 3
    assert groups[0] == groups[2]
    assert groups[1] == groups[4]
