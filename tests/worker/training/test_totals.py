"""Metrics of an evaluation are those of scikit-learn, however the images are batched."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, top_k_accuracy_score
from torch import Tensor

from worker.training.totals import Totals

CPU = torch.device("cpu")
ALL = ["macro_acc", "f1", "top5"]


def measured(logits: Tensor, labels: Tensor, batch: int, metrics: list[str]) -> dict[str, float]:
    totals = Totals({"class": metrics}, CPU)
    for part, targets in zip(torch.split(logits, batch), torch.split(labels, batch), strict=True):
        totals.add({"class": part}, {"class": torch.tensor(0.5)}, {"class": targets})
    losses, found = totals.means(len(labels))
    assert losses == {"class": pytest.approx(0.5)}
    return found["class"]


def expected(logits: Tensor, labels: Tensor) -> dict[str, float]:
    predicted, occurring = logits.argmax(1), torch.unique(labels)
    with warnings.catch_warnings():
        # balanced_accuracy_score warns of predictions of classes that do not occur.
        warnings.simplefilter("ignore")
        return {
            "acc": accuracy_score(labels, predicted),
            "macro_acc": balanced_accuracy_score(labels, predicted),
            "f1": f1_score(labels, predicted, labels=occurring, average="macro"),
            "top5": top_k_accuracy_score(labels, logits, k=5, labels=np.arange(logits.shape[1])),
        }


@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(6, 40),
    images=st.integers(2, 300),
    batch=st.integers(1, 300),
    certain=st.floats(0, 3),
)
def test_every_metric_is_that_of_scikit_learn_with_classes_that_do_not_occur(
    seed: int, classes: int, images: int, batch: int, certain: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images,), generator=generator)
    labels[labels == classes // 2] = 0  # one class is never there
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += certain
    assert measured(logits, labels, batch, ALL) == pytest.approx(expected(logits, labels), rel=1e-12)


def test_a_class_that_is_never_predicted_counts_and_one_that_never_occurs_does_not() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    logits = torch.eye(3)[torch.tensor([0, 0, 2, 2])]
    found = measured(logits, labels, 4, ["macro_acc", "f1"])
    assert found == pytest.approx({"acc": 0.5, "macro_acc": (2 / 3 + 0) / 2, "f1": (0.8 + 0) / 2})


def test_only_the_metrics_that_are_wanted_are_there() -> None:
    logits, labels = torch.randn(30, 25), torch.arange(30) % 25
    assert list(measured(logits, labels, 7, [])) == ["acc"]
    assert list(measured(logits, labels, 7, ["top5"])) == ["acc", "top5"]
    assert list(measured(logits, labels, 7, ["macro_acc", "f1"])) == ["acc", "macro_acc", "f1"]


def test_each_head_has_its_own_metrics() -> None:
    totals = Totals({"a": ["f1"], "b": [], "c": ["f1"]}, CPU)
    logits = {"c": torch.eye(3, 4), "b": torch.eye(3), "a": torch.eye(3)}
    targets = {"a": torch.tensor([0, 1, 1]), "b": torch.tensor([0, 1, 2]), "c": torch.tensor([0, 1, 2])}
    totals.add(logits, {"a": torch.tensor(1.0), "b": torch.tensor(2.0), "c": torch.tensor(3.0)}, targets)
    losses, metrics = totals.means(3)
    assert losses == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert metrics.pop("a") == pytest.approx({"acc": 2 / 3, "f1": (1 + 2 / 3) / 2})
    assert metrics == {"b": {"acc": 1.0}, "c": {"acc": 1.0, "f1": 1.0}}


def test_a_batch_that_fails_half_way_is_not_counted() -> None:
    totals = Totals({"a": [], "b": ["top5"]}, CPU)
    targets = {"a": torch.tensor([0]), "b": torch.tensor([0])}
    losses = {"a": torch.tensor(1.0), "b": torch.tensor(1.0)}
    with pytest.raises(RuntimeError):
        totals.add({"a": torch.eye(1, 9), "b": torch.eye(1, 3)}, losses, targets)  # there are no five of three
    totals.add({"a": torch.eye(1, 9), "b": torch.eye(1, 9)}, losses, targets)
    assert totals.means(1) == ({"a": 1.0, "b": 1.0}, {"a": {"acc": 1.0}, "b": {"acc": 1.0, "top5": 1.0}})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_nothing_waits_until_the_end_and_the_metrics_are_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(3)
    labels, logits = torch.randint(0, 40, (500,), generator=generator), torch.randn(500, 40, generator=generator)
    gpu = torch.device("cuda")
    totals = Totals({"class": ALL}, gpu)
    there = logits.to(gpu), torch.tensor(0.5, device=gpu), labels.to(gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        totals.add({"class": there[0]}, {"class": there[1]}, {"class": there[2]})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert totals.means(500)[1]["class"] == pytest.approx(measured(logits, labels, 500, ALL), rel=1e-12)
