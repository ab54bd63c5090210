"""Descriptions of the datasets: shapes, splits, targets, labels and errors."""

from dataclasses import FrozenInstanceError, fields

import pytest

from app.contract.builtin_datasets import CIFAR10_VALUES
from app.contract.dataset import Dataset, UnknownTarget
from app.contract.datasets import DATASETS, UnknownDataset, dataset


def test_the_datasets_stand_in_the_order_in_which_they_are_offered() -> None:
    assert list(DATASETS) == ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100"]
    assert all(name == one.name for name, one in DATASETS.items())


def test_only_digits_is_there_without_a_download() -> None:
    assert [one.name for one in DATASETS.values() if one.offline] == ["digits"]
    assert all((one.megabytes == 0) == one.offline for one in DATASETS.values())


@pytest.mark.parametrize(
    ("name", "shape", "counts", "heads"),
    [
        ("digits", (1, 28), (1_257, 180, 360), {"digit": 10, "thickness": 5, "smoothness": 3}),
        ("mnist", (1, 28), (55_000, 5_000, 10_000), {"digit": 10, "thickness": 5, "smoothness": 3}),
        ("fashion_mnist", (1, 28), (55_000, 5_000, 10_000), {"class": 10}),
        ("cifar10", (3, 32), (45_000, 5_000, 10_000), {"class": 10, "domain": 2, "mobility": 3, "size": 3}),
        ("cifar100", (3, 32), (45_000, 5_000, 10_000), {"fine": 100, "coarse": 20}),
    ],
)
def test_a_dataset_has_the_shape_splits_and_targets_of_the_specification(
    name: str, shape: tuple[int, int], counts: tuple[int, int, int], heads: dict[str, int]
) -> None:
    one = dataset(name)
    assert (one.channels, one.side) == shape
    assert (one.train, one.validation, one.test) == counts
    assert {target.name: target.classes for target in one.targets} == heads


@pytest.mark.parametrize("one", DATASETS.values(), ids=DATASETS)
def test_every_class_has_a_name_of_its_own_and_every_channel_its_constants(one: Dataset) -> None:
    for target in one.targets:
        assert len(set(target.labels)) == len(target.labels) == target.classes
        assert all(label.strip() for label in target.labels)
    assert len(one.mean) == len(one.std) == one.channels
    assert all(0 < value < 1 for value in (*one.mean, *one.std))
    assert one.title
    assert "\n" not in one.source


def test_the_default_target_weighs_one_and_cifar10s_extra_ones_three_tenths() -> None:
    assert all(one.targets[0].weight == 1.0 for one in DATASETS.values())
    assert [target.weight for target in dataset("cifar10").targets] == [1.0, 0.3, 0.3, 0.3]


def test_cifar10s_extra_values_are_those_of_the_specification() -> None:
    named = {
        target: dict(zip(dataset("cifar10").targets[0].labels, values, strict=True))
        for target, values in CIFAR10_VALUES.items()
    }
    with_value = {
        (target, value): {label for label, given in classes.items() if given == value}
        for target, classes in named.items()
        for value in set(classes.values())
    }
    assert with_value == {
        ("domain", 1): {"bird", "cat", "deer", "dog", "frog", "horse"},
        ("domain", 0): {"airplane", "automobile", "ship", "truck"},
        ("mobility", 2): {"airplane", "automobile", "bird"},
        ("mobility", 1): {"cat", "deer", "dog", "horse", "ship"},
        ("mobility", 0): {"frog", "truck"},
        ("size", 0): {"bird", "cat", "frog"},
        ("size", 1): {"dog"},
        ("size", 2): {"airplane", "automobile", "deer", "horse", "ship", "truck"},
    }


def test_a_misspelt_dataset_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UnknownDataset) as caught:
        dataset("minst")
    assert str(caught.value) == "no dataset 'minst'; datasets: digits, mnist, fashion_mnist, cifar10, cifar100"


def test_a_target_of_another_dataset_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UnknownTarget) as caught:
        dataset("cifar100").target("digit")
    assert str(caught.value) == "cifar100 has no target 'digit'; targets: fine, coarse"
    assert dataset("cifar100").target("coarse").classes == 20


def test_the_facts_cannot_be_changed() -> None:
    for fact in (dataset("mnist"), dataset("mnist").targets[0]):
        with pytest.raises(FrozenInstanceError):
            setattr(fact, fields(fact)[0].name, "other")
    with pytest.raises(TypeError):
        CIFAR10_VALUES["size"] = ()  # type: ignore[index]
