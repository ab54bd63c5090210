"""Checks that an external family must pass to enter the catalog; the built-in families pass them in tests."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models._registry import Family, InvalidArchitecture, Shape, Size, count_parameters

MNIST = Shape(1, 28, {"digit": 10})
REFERENCES = {"MNIST": MNIST, "CIFAR-10": Shape(3, 32, {"class": 10}), "CIFAR-100": Shape(3, 32, {"fine": 100})}
MULTI_HEAD = Shape(3, 32, {"class": 10, "domain": 2, "mobility": 3})
SCALARS = Shape(1, 28, {"digit": 10}, auxiliary=5)


def count(family: Family, size: Size, shape: Shape, options: Mapping[str, Any] | None = None) -> int:
    """Count the parameters of a size at a shape, on a network without memory; raises whatever building raises."""
    with torch.device("meta"):
        return count_parameters(family.build(shape, **{**size.settings, **family.choose(options)}))


def check_counts(family: Family) -> None:
    """Count every size at the three reference shapes.

    Raises InvalidArchitecture with the actual numbers if they differ from the registered ones.
    """
    mismatches = []
    for size in family.sizes:
        counts = []
        for title, shape in REFERENCES.items():
            try:
                counts.append(count(family, size, shape))
            except Exception as error:
                raise InvalidArchitecture(
                    f"{family.name}/{size.name} cannot be built for {title}: {describe_error(error)}"
                ) from error
        given = size.counts if isinstance(size.counts, tuple | list) else ()
        if tuple(given) != tuple(counts):
            mismatches.append(f"{family.name}/{size.name} {_count_mismatch(given, counts)}")
    if mismatches:
        raise InvalidArchitecture("; ".join(mismatches))


def check_outputs(family: Family) -> None:
    """Run every size forward, without memory or arithmetic; raises InvalidArchitecture for logits of another shape.

    The default size runs at every reference shape, with several heads, with auxiliary scalars if the family takes them,
    and with every choice of every option; the other sizes once each, in training with the smallest batch.
    """
    for size, shape, options in _trials(family):
        modes = [True, False] if size.name == family.default else [True]
        for training in modes:
            _check_output(family, size, shape, options, training)


def _trials(family: Family) -> Iterator[tuple[Size, Shape, dict[str, Any]]]:
    default = family.size(family.default)
    for shape in [*REFERENCES.values(), MULTI_HEAD, *([SCALARS] if family.takes_auxiliary else [])]:
        yield default, shape, {}
    for option in family.options:
        for choice in option.choices:
            if choice != option.default:
                fitting = [shape for shape in REFERENCES.values() if option.suits(choice, shape.side)]
                yield default, (fitting or [replace(MNIST, side=8 * choice)])[0], {option.name: choice}
    for size in family.sizes:
        if size is not default:
            yield size, MNIST, {}


def _check_output(family: Family, size: Size, shape: Shape, options: Mapping[str, Any], training: bool) -> None:
    name = f"{family.name}/{size.name}"
    batch = family.smallest_batch if training else 2
    chosen = "".join(f" and {option}={choice}" for option, choice in options.items())
    case = f"with {'several heads' if len(shape.heads) > 1 else 'one head'}{chosen}"
    try:
        with torch.device("meta"):
            network: nn.Module = family.build(shape, **{**size.settings, **family.choose(options)})
            images = torch.empty(batch, shape.channels, shape.side, shape.side)
            scalars = torch.empty(batch, shape.auxiliary) if shape.auxiliary else None
            actual = _shape_of(network.train(training)(images, scalars))
    except Exception as error:
        task = f"train with batch size {batch}" if training else f"evaluate {batch} images"
        raise InvalidArchitecture(f"{name} cannot {task} {case}: {describe_error(error)}") from error
    expected: Any = {head: [batch, classes] for head, classes in shape.heads.items()}
    if len(expected) == 1:
        expected = next(iter(expected.values()))
    if actual != expected:
        given = "1 image" if batch == 1 else f"{batch} images"
        raise InvalidArchitecture(
            f"{name} returns {_format_shape(actual)} for {given} {case}, expected {_format_shape(expected)}"
        )


def describe_error(error: BaseException) -> str:
    """The first line of an error message, with the error's type."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    if "meta" in text:
        text += " (checks run on PyTorch's meta device, where tensors have shapes but no values)"
    return text


def _shape_of(logits: object) -> Any:
    if isinstance(logits, Tensor):
        return list(logits.shape)
    if isinstance(logits, Mapping):
        return {head: _shape_of(output) for head, output in logits.items()}
    return type(logits).__name__


def _format_shape(shape: Any) -> str:
    if isinstance(shape, dict):
        return (
            "a dict of " + ", ".join(f"{head} {sizes}" for head, sizes in shape.items()) if shape else "an empty dict"
        )
    return f"logits {shape}" if isinstance(shape, list) else f"a {shape}"


def _count_mismatch(given: Any, counts: list[int]) -> str:
    advice = f"use counts=({', '.join(map(str, counts))})"
    if len(given) != len(counts) or not all(isinstance(number, int) for number in given):
        return f"needs three parameter counts ({', '.join(REFERENCES)}), not {tuple(given)}; {advice}"
    differences = [
        f"{actual:,} parameters for {title}, not {registered:,}"
        for title, actual, registered in zip(REFERENCES, counts, given, strict=True)
        if actual != registered
    ]
    return f"has {', '.join(differences)}; {advice}"
