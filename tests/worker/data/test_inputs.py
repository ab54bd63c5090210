"""Scaling of pixels and scalars, and its round trip through a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.conftest import make_config
from worker.data.datasets import load
from worker.data.inputs import Inputs

FIGURES = st.lists(st.tuples(st.floats(-10, 10), st.floats(1e-3, 10)), min_size=1, max_size=5)


@given(FIGURES, FIGURES)
def test_the_figures_come_back_from_a_checkpoint_s_json(
    pixels: list[tuple[float, float]], scalars: list[tuple[float, float]]
) -> None:
    mean, std = zip(*pixels, strict=True)
    scalars_mean, scalars_std = zip(*scalars, strict=True)
    inputs = Inputs(mean, std, tuple(f"s{i}" for i in range(len(scalars))), scalars_mean, scalars_std)
    assert Inputs.from_dict(json.loads(json.dumps(inputs.to_dict()))) == inputs


@given(st.integers(2, 50), st.integers(1, 5), st.integers(0, 1000))
def test_standardised_scalars_have_mean_0_and_deviation_1(n: int, count: int, seed: int) -> None:
    raw = torch.randn(n, count, generator=torch.Generator().manual_seed(seed)) * 40 + 100
    mean, std = raw.double().mean(0), raw.double().std(0, correction=0)
    inputs = Inputs((0.0,), (1.0,), tuple(map(str, range(count))), tuple(mean.tolist()), tuple(std.tolist()))
    found = inputs.standardize(raw)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.mean(0), torch.zeros(count), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(count), atol=1e-4, rtol=0)


def test_a_recipe_may_normalise_by_one_half(datasets: Path) -> None:
    data = load("digits", ["digit"], datasets, lambda text: None)
    assert Inputs.of(data, make_config(normalization="half")) == Inputs((0.5,), (0.5,))
    assert Inputs.of(data, make_config()) == Inputs(data.dataset.mean, data.dataset.std)


@pytest.mark.parametrize(
    "figures",
    [
        {"mean": (0.5,), "std": (0.5, 0.5)},
        {"mean": (0.5,), "std": (0.0,)},
        {"mean": (0.5,), "std": (0.5,), "scalars": ("area",), "scalars_mean": (1.0,), "scalars_std": ()},
        {"mean": (0.5,), "std": (0.5,), "scalars": ("area",), "scalars_mean": (1.0,), "scalars_std": (float("nan"),)},
    ],
)
def test_figures_that_cannot_be_are_refused(figures: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match=r"std must|same length"):
        Inputs(**figures)  # type: ignore[arg-type]
