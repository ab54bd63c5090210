"""Dropout: its own draws on a CPU, and torch's elsewhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models._dropout import LEVELS, Dropout

SHAPES = st.lists(st.integers(0, 7), max_size=4).map(tuple)
RATES = st.floats(0.01, 0.95)


def drawn(rate: float, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    out: torch.Tensor = Dropout(rate)(x)
    return out


@settings(deadline=None, max_examples=60)
@given(rate=RATES, shape=SHAPES, seed=st.integers(0, 2**31), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_an_element_is_zeroed_or_scaled_and_its_gradient_likewise(
    rate: float, shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    x = torch.ones(shape, dtype=dtype, requires_grad=True)
    out = drawn(rate, x, seed)
    assert (out.shape, out.dtype) == (x.shape, dtype)
    tolerance = 0.01 if dtype == torch.bfloat16 else 1e-3
    kept = out[out != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=tolerance)
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())
    assert torch.equal(out, drawn(rate, x, seed)), "the same seed draws the same"


@pytest.mark.parametrize("rate", [1 / LEVELS, 0.1, 0.25, 0.5, 0.9])
def test_as_many_are_zeroed_as_the_rate_says_at_every_place_of_a_number(rate: float) -> None:
    images = 2_000_000
    zeroed = (drawn(rate, torch.ones(images)) == 0).view(-1, 4).double()
    deviation = (rate * (1 - rate)) ** 0.5
    assert zeroed.mean().item() == pytest.approx(rate, abs=6 * deviation / images**0.5)
    assert zeroed.mean(0).tolist() == pytest.approx([rate] * 4, abs=6 * deviation / (images / 4) ** 0.5)
    # Elements that one number decides on are independent of each other.
    if rate >= 0.1:
        correlations = torch.corrcoef(zeroed.T) - torch.eye(4)
        assert correlations.abs().max().item() < 6 / (images / 4) ** 0.5


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_in_evaluation_nothing_is_dropped(rate: float) -> None:
    x = torch.randn(5, 3)
    assert torch.equal(Dropout(rate).eval()(x), x)


def test_a_rate_of_zero_keeps_everything_and_of_one_nothing() -> None:
    x = torch.randn(100)
    assert torch.equal(drawn(0.0, x), x)
    assert torch.equal(drawn(1.0, x), torch.zeros(100))
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(1.1)


def test_compiled_into_one_graph_it_draws_the_same() -> None:
    x = torch.ones(1000)
    dropout = Dropout(0.5)
    torch.manual_seed(3)
    expected = dropout(x)
    torch.manual_seed(3)
    assert torch.equal(torch.compile(dropout, backend="eager", fullgraph=True)(x), expected)


def test_elsewhere_than_on_a_cpu_it_is_that_of_torch() -> None:
    x = torch.ones(10, device="meta")
    assert Dropout(0.5)(x).device.type == "meta"
    other = nn.Dropout(0.5)
    torch.manual_seed(0)
    expected = other(torch.ones(10))
    torch.manual_seed(0)
    assert not torch.equal(Dropout(0.5)(torch.ones(10)), expected), "on a CPU it has its own draws"
