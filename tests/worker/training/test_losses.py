"""Losses of heads, with classes weighted by how rare they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from app.contract.datasets import dataset
from tests.worker.conftest import make_config
from worker.data.datasets import Data, Split
from worker.data.device_dataset import Resident
from worker.data.mixing import Mixed
from worker.training.losses import Losses, balanced_weights

COUNTS = [40, 20, 10, 5, 5, 5, 5, 4, 3, 3]


def uneven(targets: tuple[str, ...] = ("class",)) -> Resident:
    facts = dataset("cifar10")
    labels = torch.repeat_interleave(torch.arange(10), torch.tensor(COUNTS))
    images = torch.zeros(len(labels), 3, 32, 32, dtype=torch.uint8)
    split = Split(images, {name: labels % facts.target(name).classes for name in targets})
    return Resident(Data(facts, split, split, split), torch.device("cpu"))


def batch(classes: int = 10, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, classes, generator=generator), torch.randint(0, classes, (16,), generator=generator)


def losses(data: Resident | None = None, **changes: Any) -> Losses:
    return Losses(data or uneven(), make_config(dataset="cifar10", **{"targets": ["class"], **changes}))


@given(counts=st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any))
def test_weights_are_scikit_learn_s_and_one_on_average(counts: list[int]) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    weights = balanced_weights(labels, len(counts))
    occurring = torch.unique(labels)
    expected = compute_class_weight("balanced", classes=np.asarray(occurring), y=np.asarray(labels))
    assert weights[occurring].tolist() == pytest.approx(expected.tolist())
    assert weights[labels].mean().item() == pytest.approx(1)
    assert weights[torch.tensor(counts) == 0].tolist() == [0] * counts.count(0)


def test_the_loss_of_each_image_is_multiplied_by_the_weight_of_its_class() -> None:
    logits, targets = batch()
    weights = torch.tensor([sum(COUNTS) / (10 * count) for count in COUNTS])
    loss = losses(class_weights="balanced").training({"class": logits}, {"class": targets}, Mixed(logits))["class"]
    by_hand = (F.cross_entropy(logits, targets, reduction="none") * weights[targets]).sum() / 16
    torchs = F.cross_entropy(logits, targets, weight=weights, reduction="sum") / 16
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(loss, torchs)


def test_a_smoothed_label_keeps_the_weight_of_its_class() -> None:
    logits, targets = batch()
    found = losses(class_weights="balanced", label_smoothing=0.2)
    assert found.balanced is not None
    loss = found.training({"class": logits}, {"class": targets}, Mixed(logits))["class"]
    smooth = F.cross_entropy(logits, targets, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(loss, (smooth * found.balanced[targets]).mean())


def test_a_mixed_image_has_the_weights_of_both_its_labels() -> None:
    logits, targets = batch()
    partners = torch.arange(16).flip(0)
    found = losses(class_weights="balanced")
    assert found.balanced is not None
    loss = found.training({"class": logits}, {"class": targets}, Mixed(logits, partners, 0.7))["class"]
    each = [F.cross_entropy(logits, labels, reduction="none") for labels in (targets, targets[partners])]
    weights = [found.balanced[labels] for labels in (targets, targets[partners])]
    torch.testing.assert_close(loss, 0.7 * (each[0] * weights[0]).mean() + 0.3 * (each[1] * weights[1]).mean())


def test_an_evaluation_counts_all_images_the_same() -> None:
    logits, targets = batch()
    found = losses(class_weights="balanced", label_smoothing=0.2).means({"class": logits}, {"class": targets})
    torch.testing.assert_close(found["class"], F.cross_entropy(logits, targets))


def test_only_the_first_head_is_weighted() -> None:
    data = uneven(("class", "size"))
    logits, targets = {"class": batch()[0], "size": batch(3)[0]}, {"class": batch()[1], "size": batch(3)[1]}
    plain = losses(data, targets=["class", "size"])
    weighted = losses(data, targets=["class", "size"], class_weights="balanced")
    one, other = (each.training(logits, targets, Mixed(logits["class"])) for each in (plain, weighted))
    assert torch.equal(one["size"], other["size"])
    assert not torch.equal(one["class"], other["class"])
    torch.testing.assert_close(plain.total(one), one["class"] + 0.3 * one["size"])


def test_weights_are_off_by_default() -> None:
    logits, targets = batch()
    found = losses()
    assert found.balanced is None
    loss = found.training({"class": logits}, {"class": targets}, Mixed(logits))["class"]
    assert torch.equal(loss, F.cross_entropy(logits, targets))
