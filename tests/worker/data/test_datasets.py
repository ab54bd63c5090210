"""Dataset splits, valid requests, and measured targets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

from app.contract.dataset import UnknownTarget
from app.contract.datasets import UnknownDataset, dataset
from tests.worker.official_files import know, never, put
from worker.data.datasets import PARTS, DatasetError, load
from worker.data.importing.stratified_split import stratified_split

Official = Callable[[str, Path], None]

pytestmark = pytest.mark.usefixtures("loopback_only")


# Splitting


@given(
    labels=st.lists(st.integers(0, 7), max_size=200),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_a_stratified_split_is_whole_exact_and_fair_to_every_class(labels: list[int], share: float, seed: int) -> None:
    array = np.array(labels, dtype=np.int64)
    take = int(share * len(labels))
    rest, taken = stratified_split(array, take, seed)
    assert len(taken) == take
    assert sorted([*rest.tolist(), *taken.tolist()]) == list(range(len(labels)))
    for part in (rest, taken):
        assert np.all(np.diff(part) > 0)
        for label in set(labels):
            fair = labels.count(label) * len(part) / len(labels)
            assert abs(int((array[part] == label).sum()) - fair) < 1


def test_a_stratified_split_is_a_fixed_function_of_labels_and_seed() -> None:
    labels = np.arange(30) % 3
    taken = stratified_split(labels, 9, 0)[1]
    assert taken.tolist() == [5, 7, 9, 13, 15, 16, 20, 26, 27]
    assert not np.array_equal(taken, stratified_split(labels, 9, 1)[1])


@pytest.mark.parametrize("take", [-1, 4])
def test_more_than_there_is_cannot_be_taken(take: int) -> None:
    with pytest.raises(ValueError, match=f"cannot take {take} of 3"):
        stratified_split(np.zeros(3, dtype=np.int64), take, 0)


# digits


def test_digits_come_in_the_splits_and_shape_that_the_facts_give(datasets: Path) -> None:
    data = load("digits", ["digit"], datasets, never)
    facts = dataset("digits")
    assert data.dataset is facts
    assert [len(data.split(part)) for part in PARTS] == [facts.train, facts.validation, facts.test]
    for part in PARTS:
        split = data.split(part)
        assert split.images.shape[1:] == (1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.targets["digit"].dtype == torch.int64
        assert len(split.targets["digit"]) == len(split)
    assert int(data.train.images.max()) > 250


def test_the_facts_of_digits_hold_the_mean_and_deviation_of_its_training_images(datasets: Path) -> None:
    pixels = load("digits", ["digit"], datasets, never).train.images.double() / 255
    assert (round(float(pixels.mean()), 4),) == dataset("digits").mean
    assert (round(float(pixels.std(correction=0)), 4),) == dataset("digits").std


def test_every_digit_is_there_once_under_its_own_label_in_a_fair_share(datasets: Path) -> None:
    data = load("digits", ["digit"], datasets, never)
    original = load_digits()
    # Bilinear, written out: each new pixel's middle falls between the middles of two old ones.
    middles = (np.arange(28) + 0.5) * 8 / 28 - 0.5
    weights = np.stack([np.interp(middles, np.arange(8), row) for row in np.eye(8)], axis=1)
    scaled = torch.from_numpy(weights @ original.images @ weights.T * 255 / 16).flatten(1)
    labels = torch.from_numpy(original.target)
    found = []
    for part in PARTS:
        split = data.split(part)
        distance, nearest = torch.cdist(split.images.double().flatten(1), scaled, p=torch.inf).min(1)
        assert float(distance.max()) < 0.51
        assert torch.equal(labels[nearest], split.targets["digit"])
        found += nearest.tolist()
        fair = labels.bincount().double() * len(split) / len(labels)
        assert float((split.targets["digit"].bincount() - fair).abs().max()) < 1
    assert sorted(found) == list(range(1_797))


def test_the_split_of_digits_never_changes(datasets: Path) -> None:
    data = load("digits", ["digit"], datasets, never)
    labels = bytes(torch.cat([data.split(part).targets["digit"] for part in PARTS]).tolist())
    assert hashlib.sha256(labels).hexdigest()[:16] == "cb3f8f1bda17b989"


# What is asked for


def test_only_the_targets_asked_for_are_brought_and_any_can_be_asked_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("cifar10", tmp_path, know("cifar10", monkeypatch))
    assert list(load("cifar10", ["size"], tmp_path, never).train.targets) == ["size"]
    assert list(load("cifar10", ["class", "domain"], tmp_path, never).train.targets) == ["class", "domain"]


def test_a_name_that_does_not_exist_touches_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with pytest.raises(UnknownDataset):
        load("minst", ["digit"], folder, never)
    with pytest.raises(UnknownTarget):
        load("mnist", ["fine"], folder, never)
    with pytest.raises(ValueError, match="specify at least one target; targets: digit"):
        load("mnist", [], folder, never)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DatasetError, match=r"^could not read or write digits in .*/data \(Not a directory\);"):
        load("digits", ["digit"], tmp_path / "data", never)
