"""Mixup, CutMix and random erasing of whole batches: what they change, and what they leave alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.data.mixing import ERASED_SHARES, Mixing


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int, channels: int = 1, side: int = 28) -> Tensor:
    """Images of which each has one value, its number from 1."""
    return torch.arange(1.0, n + 1).view(n, 1, 1, 1).repeat(1, channels, side, side)


def test_nothing_is_drawn_and_nothing_changed_by_default() -> None:
    images, generator = numbered(4), seeded(1)
    before = generator.get_state()
    mixed = Mixing()(images, generator)
    assert mixed.images is images
    assert (mixed.partners, mixed.share) == (None, 1.0)
    assert torch.equal(generator.get_state(), before)


@given(seed=st.integers(0, 2**31), alpha=st.floats(0.05, 10), n=st.integers(2, 9), channels=st.sampled_from([1, 3]))
def test_mixup_blends_each_image_with_its_partner_in_one_share(seed: int, alpha: float, n: int, channels: int) -> None:
    mixed = Mixing(mixup=alpha)(numbered(n, channels), seeded(seed))
    assert mixed.partners is not None
    assert sorted(mixed.partners.tolist()) == list(range(n))
    assert 0.5 <= mixed.share <= 1
    own = torch.arange(1.0, n + 1)
    expected = mixed.share * own + (1 - mixed.share) * own[mixed.partners]
    torch.testing.assert_close(mixed.images, expected.view(n, 1, 1, 1).expand(n, channels, 28, 28))
    torch.testing.assert_close(mixed.blend(own), expected)


@given(seed=st.integers(0, 2**31), alpha=st.floats(0.05, 10), side=st.integers(1, 33))
def test_cutmix_takes_a_rectangle_from_the_partner_and_that_share_of_its_label(
    seed: int, alpha: float, side: int
) -> None:
    before = numbered(6, 3, side)
    mixed = Mixing(cutmix=alpha)(before.clone(), seeded(seed))
    assert mixed.partners is not None
    foreign = mixed.images != before
    moved = [i for i in range(6) if mixed.partners[i] != i]
    for i in moved:
        assert set(mixed.images[i][foreign[i]].tolist()) <= {float(mixed.partners[i]) + 1}
        assert torch.equal(foreign[i], foreign[moved[0]]), "not the same place in every image"
        cut = foreign[i][0]
        assert cut.sum() == cut.any(0).sum() * cut.any(1).sum(), "not a rectangle"
        assert mixed.share == pytest.approx(1 - cut.double().mean().item())
    # Half at most, but for what rounding adds.
    assert mixed.share >= 0.5 - 1.5 / side


def test_the_share_is_drawn_from_the_beta_distribution_and_the_own_label_counts_more() -> None:
    generator = seeded(3)
    shares = torch.tensor([Mixing(mixup=1.0)(numbered(2), generator).share for _ in range(2000)])
    # Of Beta(1, 1), which is uniform, the greater of a share and the rest is uniform from one half to one.
    assert shares.min() >= 0.5
    assert shares.mean().item() == pytest.approx(0.75, abs=0.01)
    weak = torch.tensor([Mixing(mixup=0.1)(numbered(2), generator).share for _ in range(500)])
    assert weak.mean() > 0.9


def test_with_both_each_batch_gets_one_of_them() -> None:
    generator, kinds = seeded(4), set()
    for _ in range(50):
        mixed = Mixing(mixup=1.0, cutmix=1.0)(numbered(8), generator)
        whole = all(value.unique().numel() == 1 for value in mixed.images)
        kinds.add("mixup" if whole and mixed.images.frac().any() else "cutmix")
    assert kinds == {"mixup", "cutmix"}


@given(seed=st.integers(0, 2**31), last=st.booleans())
def test_a_rectangle_of_each_image_is_erased(seed: int, last: bool) -> None:
    layout = torch.channels_last if last else torch.contiguous_format
    images = numbered(5, 3, 32).contiguous(memory_format=layout)
    erased = Mixing(erasing=1.0)(images, seeded(seed)).images
    assert erased.is_contiguous(memory_format=layout)
    for image in erased:
        gone = image == 0
        assert torch.equal(gone, gone[:1].expand(3, 32, 32)), "not all channels of it"
        cut = gone[0]
        assert cut.sum() == cut.any(0).sum() * cut.any(1).sum(), "not a rectangle"
        assert ERASED_SHARES[0] * 0.5 <= cut.double().mean().item() <= ERASED_SHARES[1] * 1.1


def test_erasing_hits_the_share_of_images_that_was_asked_for() -> None:
    erased = Mixing(erasing=0.25)(numbered(4000, 1, 8), seeded(5)).images
    assert (erased == 0).flatten(1).any(1).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_the_same_generator_gives_the_same_batch() -> None:
    mixing = Mixing(mixup=0.4, cutmix=1.0, erasing=0.5)
    one, other = (mixing(numbered(8, 3), seeded(6)) for _ in range(2))
    assert torch.equal(one.images, other.images)
    assert one.share == other.share


def test_a_batch_of_one_has_no_partner() -> None:
    mixed = Mixing(mixup=1.0)(numbered(1), seeded(1))
    assert mixed.partners is None
    assert torch.equal(mixed.images, numbered(1))
