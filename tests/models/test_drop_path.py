from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models._drop_path import DropPath, linear_rates


@settings(deadline=None, max_examples=50)
@given(rate=st.floats(0, 0.95), images=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_every_image_keeps_its_whole_branch_or_none_of_it(rate: float, images: int, seed: int) -> None:
    torch.manual_seed(seed)
    skip, branch = torch.randn(2, images, 3, 2, 2, dtype=torch.float64)
    joined = DropPath(rate)(skip, branch)
    whole = skip + branch / (1 - rate)
    for image in range(images):
        dropped = torch.equal(joined[image], skip[image])
        assert dropped or torch.allclose(joined[image], whole[image])


@settings(deadline=None, max_examples=20)
@given(rate=st.floats(0, 0.9), seed=st.integers(0, 2**31))
def test_the_expectation_stays(rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    images = 20_000
    mean = DropPath(rate)(torch.zeros(images, 1), torch.ones(images, 1)).mean().item()
    standard_error = (rate / (1 - rate) / images) ** 0.5
    assert mean == pytest.approx(1, abs=6 * standard_error + 1e-5)


def test_nothing_is_dropped_outside_training() -> None:
    skip, branch = torch.randn(2, 16, 3)
    assert torch.equal(DropPath(0.9).eval()(skip, branch), skip + branch)


def test_a_rate_of_zero_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    DropPath(0.0)(torch.randn(0, 2), torch.randn(0, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_drops_the_same_branches() -> None:
    drop_path, skip, branch = DropPath(0.5), torch.zeros(64, 1), torch.ones(64, 1)
    torch.manual_seed(7)
    first = drop_path(skip, branch)
    torch.manual_seed(7)
    assert torch.equal(drop_path(skip, branch), first)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        DropPath(rate)


@given(rate=st.floats(0, 0.95), blocks=st.integers(2, 60))
def test_rates_rise_linearly_from_nothing_to_the_whole(rate: float, blocks: int) -> None:
    rates = linear_rates(rate, blocks)
    assert len(rates) == blocks
    assert rates[0] == 0
    assert rates[-1] == rate
    steps = [after - before for before, after in pairwise(rates)]
    assert steps == pytest.approx([rate / (blocks - 1)] * (blocks - 1))


def test_a_single_block_drops_nothing() -> None:
    assert linear_rates(0.5, 1) == [0]
