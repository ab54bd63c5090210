"""Draws in which all classes are equally frequent, and what counts as uneven."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.data.class_balance import balanced_draw, is_uneven
from worker.data.device_dataset import BatchSizeError, order

CPU = torch.device("cpu")
COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any)


def labels_of(counts: list[int]) -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]


@given(counts=COUNTS, images=st.integers(0, 300), seed=st.integers(0, 2**31))
def test_a_draw_has_as_many_of_each_class_up_to_one_and_uses_each_class_evenly(
    counts: list[int], images: int, seed: int
) -> None:
    labels = labels_of(counts)
    drawn = balanced_draw(labels, images, torch.Generator().manual_seed(seed))
    assert len(drawn) == images
    occurring = [i for i, count in enumerate(counts) if count]
    per_class = torch.bincount(labels[drawn], minlength=len(counts))
    assert per_class.sum() == per_class[occurring].sum() == images
    assert per_class[occurring].max() - per_class[occurring].min() <= 1
    times = torch.bincount(drawn, minlength=len(labels))
    for i in occurring:
        of_class = times[labels == i]
        assert of_class.max() - of_class.min() <= 1, "an image is drawn again before all others were"
        if counts[i] <= per_class[i]:
            assert of_class.min() >= 1, "an image of a small class is left out"


@given(counts=COUNTS, batch_size=st.integers(1, 64), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 1000))
def test_a_balanced_epoch_is_as_long_as_a_plain_one_and_a_function_of_seed_and_epoch(
    counts: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    labels = labels_of(counts)
    n = len(labels)
    if n < batch_size:
        with pytest.raises(BatchSizeError):
            order(seed, epoch, n, batch_size, CPU, balance=labels)
        return
    state = torch.get_rng_state()
    found = order(seed, epoch, n, batch_size, CPU, balance=labels)
    assert found.shape == order(seed, epoch, n, batch_size, CPU).shape
    assert torch.equal(found, order(seed, epoch, n, batch_size, CPU, balance=labels))
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_mixed_and_every_epoch_and_seed_has_its_own() -> None:
    labels = labels_of([500, 20, 80])
    epochs = [order(seed, epoch, 600, 60, CPU, balance=labels) for seed in (1, 2) for epoch in range(4)]
    assert len({tuple(each.flatten().tolist()) for each in epochs}) == 8
    for each in epochs:
        shares = torch.stack([torch.bincount(labels[batch], minlength=3) for batch in each])
        assert shares.min() >= 6, "a batch of 60 has hardly any of a class"
    large = torch.unique(torch.cat([each[labels[each] == 0] for each in epochs]))
    assert len(large) > 450, "the same images of the large class are drawn every time"


@pytest.mark.parametrize(
    ("counts", "uneven"),
    [([100, 100], False), ([150, 100], False), ([151, 100], True), ([6742, 5421], False), ([5, 0], True)],
)
def test_classes_are_uneven_if_the_largest_is_half_as_large_again(counts: list[int], uneven: bool) -> None:
    assert is_uneven(labels_of(counts), len(counts)) is uneven
