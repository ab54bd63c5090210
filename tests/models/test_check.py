"""An external family must match its registration before anybody trains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models import REFERENCES, Family, Heads, Option, Shape, Size, families
from models._check import check_counts, check_outputs, count
from models._registry import InvalidArchitecture


class Linear(nn.Module):
    """The smallest network that follows the protocol."""

    def __init__(self, shape: Shape, width: int = 3, norm: bool = False, act: str = "relu") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(shape.channels * shape.side**2, width))
        if norm:
            self.body.append(nn.BatchNorm1d(width))
        self.heads = Heads(width, shape.heads)

    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Any:
        return self.heads(self.body(images))


COUNTS = (28 * 28 * 3 + 3 + 40, 3 * 32 * 32 * 3 + 3 + 40, 3 * 32 * 32 * 3 + 3 + 400)


def family(
    build: Callable[..., Any] = Linear, settings: dict[str, Any] | None = None, counts: Any = COUNTS, **said: Any
) -> Family:
    size = Size("small", settings or {}, counts)
    return Family("net", "A network.", "In tests.", build, (size,), "small", **said)


@pytest.mark.parametrize("found", [pytest.param(each, id=each.name) for each in families().values()])
def test_the_families_of_the_package_pass_what_those_from_outside_must(found: Family) -> None:
    check_counts(found)
    check_outputs(found)


def test_counts_at_the_three_reference_shapes_must_be_right_to_the_last_parameter() -> None:
    check_counts(family())
    check_counts(family(counts=list(COUNTS)))
    with pytest.raises(InvalidArchitecture) as refused:
        check_counts(family(counts=(2395, COUNTS[1] - 1, COUNTS[2])))
    assert str(refused.value) == (
        "net/small has 9,259 parameters for CIFAR-10, not 9,258; use counts=(2395, 9259, 9619)"
    )


@given(st.tuples(*[st.integers(min_value=0, max_value=20_000)] * 3))
def test_whatever_counts_are_given_the_sentence_holds_those_to_put(counts: tuple[int, int, int]) -> None:
    if counts == COUNTS:
        check_counts(family(counts=counts))
        return
    with pytest.raises(InvalidArchitecture) as refused:
        check_counts(family(counts=counts))
    assert f"use counts={COUNTS}" in str(refused.value)
    for title, said, right in zip(REFERENCES, counts, COUNTS, strict=True):
        assert (f"{right:,} parameters for {title}, not {said:,}" in str(refused.value)) == (said != right)


@pytest.mark.parametrize("counts", [(), None, (1, 2), ("a", "b", "c")])
def test_left_out_counts_are_told(counts: Any) -> None:
    with pytest.raises(
        InvalidArchitecture, match=r"net/small needs three parameter counts .*, not .*; use counts=\(2395, 9259, 9619\)"
    ):
        check_counts(family(counts=counts))


def test_every_wrong_size_is_told_at_once() -> None:
    sizes = tuple(Size(name, {"width": width}, (0, 0, 0)) for name, width in (("a", 1), ("b", 2)))
    with pytest.raises(
        InvalidArchitecture, match=r"net/a has .*; use counts=\(.*\); net/b has .*; use counts=\("
    ) as refused:
        check_counts(Family("net", "A network.", "In tests.", Linear, sizes, "a"))
    assert "\n" not in str(refused.value)


def fails(shape: Shape) -> nn.Module:
    raise RuntimeError(f"no weights for {shape.side} pixels\nsecond line")


def reads(shape: Shape) -> nn.Module:
    return nn.Linear(int(torch.linspace(1, 3, 2)[-1].item()), 1)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (fails, "net/small cannot be built for MNIST: RuntimeError: no weights for 28 pixels"),
        (lambda: None, r"net/small cannot be built for MNIST: TypeError: .* positional argument"),
        (lambda shape: None, "net/small cannot be built for MNIST: AttributeError: 'NoneType'"),
        (lambda shape: nn.LazyLinear(2), "net/small cannot be built for MNIST: ValueError: .*uninitialized parameter"),
        (reads, r"run on PyTorch's meta device, where tensors have shapes but no values\)"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_with_what_it_raised(build: Any, sentence: str) -> None:
    with pytest.raises(InvalidArchitecture, match=sentence) as refused:
        check_counts(family(build))
    assert "\n" not in str(refused.value)


class OneHead(Linear):
    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Any:
        answer = super().forward(images)
        return next(iter(answer.values())) if isinstance(answer, dict) else answer


class AlwaysDict(Linear):
    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Any:
        answer = super().forward(images)
        return answer if isinstance(answer, dict) else {"digit": answer}


class Transposed(Linear):
    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Any:
        answer = super().forward(images)
        return answer.T if isinstance(answer, Tensor) else answer


class WithoutScalars(Linear):
    def forward(self, images: Tensor) -> Any:  # type: ignore[override]
        return super().forward(images)


class Pair(Linear):
    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Any:
        return super().forward(images), None


class Aware(Linear):
    def forward(self, images: Tensor, auxiliary: Tensor | None = None) -> Any:
        assert auxiliary is None, "no room for scalars"
        return super().forward(images)


def narrow(shape: Shape, act: str = "relu") -> nn.Module:
    return Linear(shape) if act == "relu" else OneHead(Shape(shape.channels, shape.side, {"digit": 7}))


ACT = Option("act", "relu", ("relu", "gelu"), "The activation.")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            family(OneHead),
            "net/small returns logits [1, 10] for 1 image with several heads, "
            "expected a dict of class [1, 10], domain [1, 2], mobility [1, 3]",
        ),
        (family(AlwaysDict), "returns a dict of digit [1, 10] for 1 image with one head, expected logits [1, 10]"),
        (family(Transposed), "returns logits [10, 1] for 1 image with one head, expected logits [1, 10]"),
        (family(Pair), "returns a tuple for 1 image with one head, expected logits [1, 10]"),
        (family(WithoutScalars), "net/small cannot train with batch size 1 with one head: TypeError: "),
        (
            family(Linear, {"norm": True}),
            "net/small cannot train with batch size 1 with one head: ValueError: Expected more than 1 value",
        ),
        (family(Aware, takes_auxiliary=True), "AssertionError: no room for scalars"),
        (
            family(narrow, options=(ACT,)),
            "returns logits [1, 7] for 1 image with one head and act=gelu, expected logits [1, 10]",
        ),
    ],
)
def test_logits_of_another_shape_are_refused(wrong: Family, sentence: str) -> None:
    with pytest.raises(InvalidArchitecture) as refused:
        check_outputs(wrong)
    assert sentence in str(refused.value)


def test_a_network_with_batch_norm_says_so_with_its_smallest_batch() -> None:
    check_outputs(family(Linear, {"norm": True}, smallest_batch=2))


def test_counting_and_trying_take_no_random_numbers_and_no_memory() -> None:
    before = torch.get_rng_state()
    huge = family(Linear, {"width": 10**9})
    assert count(huge, huge.sizes[0], REFERENCES["MNIST"]) > 10**11
    check_outputs(huge)
    assert torch.equal(torch.get_rng_state(), before)
