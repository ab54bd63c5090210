"""What a family from outside must prove before it is in the catalog; those of this package prove it in its tests."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models._registry import Family, Refused, Shape, Size, count_parameters

MNIST = Shape(1, 28, {"digit": 10})
REFERENCES = {"MNIST": MNIST, "CIFAR-10": Shape(3, 32, {"class": 10}), "CIFAR-100": Shape(3, 32, {"fine": 100})}
SEVERAL = Shape(3, 32, {"class": 10, "domain": 2, "mobility": 3})
SCALARS = Shape(1, 28, {"digit": 10}, auxiliary=5)


def count(family: Family, size: Size, shape: Shape, options: Mapping[str, Any] | None = None) -> int:
    """How many parameters a size has at a shape, counted on a network without memory; raises what building raises."""
    with torch.device("meta"):
        return count_parameters(family.build(shape, **{**size.settings, **family.choose(options)}))


def recount(family: Family) -> None:
    """Count every size at the three reference shapes; raises Refused with the right numbers where the given differ."""
    wrong = []
    for size in family.sizes:
        found = []
        for title, shape in REFERENCES.items():
            try:
                found.append(count(family, size, shape))
            except Exception as error:
                raise Refused(f"{family.name}/{size.name} cannot be built at {title}: {in_words(error)}") from error
        given = size.counts if isinstance(size.counts, tuple | list) else ()
        if tuple(given) != tuple(found):
            wrong.append(f"{family.name}/{size.name} {_difference(given, found)}")
    if wrong:
        raise Refused("; ".join(wrong))


def try_out(family: Family) -> None:
    """Run every size forwards, without memory or arithmetic; raises Refused where logits have another shape.

    The default size is tried at every reference shape, with several heads, with auxiliary scalars where the family
    takes them and with every choice of every option, the other sizes once each; in training with the smallest batch.
    """
    for size, shape, options in _trials(family):
        modes = [True, False] if size.name == family.default else [True]
        for training in modes:
            _try(family, size, shape, options, training)


def _trials(family: Family) -> Iterator[tuple[Size, Shape, dict[str, Any]]]:
    default = family.size(family.default)
    for shape in [*REFERENCES.values(), SEVERAL, *([SCALARS] if family.takes_auxiliary else [])]:
        yield default, shape, {}
    for option in family.options:
        for choice in option.choices:
            if choice != option.default:
                yield default, MNIST, {option.name: choice}
    for size in family.sizes:
        if size is not default:
            yield size, MNIST, {}


def _try(family: Family, size: Size, shape: Shape, options: Mapping[str, Any], training: bool) -> None:
    name = f"{family.name}/{size.name}"
    number = family.smallest_batch if training else 2
    asked = "".join(f" with {option} {choice}" for option, choice in options.items())
    about = f"for {'several heads' if len(shape.heads) > 1 else 'one head'}{asked}"
    try:
        with torch.device("meta"):
            network: nn.Module = family.build(shape, **{**size.settings, **family.choose(options)})
            images = torch.empty(number, shape.channels, shape.side, shape.side)
            scalars = torch.empty(number, shape.auxiliary) if shape.auxiliary else None
            found = _shape_of(network.train(training)(images, scalars))
    except Exception as error:
        what = f"train on a batch of {number}" if training else f"judge {number} images"
        raise Refused(f"{name} cannot {what} {about}: {in_words(error)}") from error
    expected: Any = {head: [number, classes] for head, classes in shape.heads.items()}
    if len(expected) == 1:
        expected = next(iter(expected.values()))
    if found != expected:
        given = "1 image" if number == 1 else f"{number} images"
        raise Refused(f"{name} answers {given} {about} with {_shown(found)}, not {_shown(expected)}")


def in_words(error: BaseException) -> str:
    """The first line of what a network raised, with its kind."""
    lines = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    if "meta" in words:
        words += " (it is tried on torch's meta device, where tensors have shapes and no values)"
    return words


def _shape_of(logits: object) -> Any:
    if isinstance(logits, Tensor):
        return list(logits.shape)
    if isinstance(logits, Mapping):
        return {head: _shape_of(each) for head, each in logits.items()}
    return type(logits).__name__


def _shown(shape: Any) -> str:
    if isinstance(shape, dict):
        return "a dict of " + (", ".join(f"{head} {each}" for head, each in shape.items()) or "nothing")
    return f"logits {shape}" if isinstance(shape, list) else f"a {shape}"


def _difference(given: Any, found: list[int]) -> str:
    put = f"put counts=({', '.join(map(str, found))})"
    if len(given) != len(found) or not all(isinstance(number, int) for number in given):
        return f"needs three counts, not {tuple(given)}; {put}"
    right = [
        f"{actual:,} parameters at {title}, not {said:,}"
        for title, actual, said in zip(REFERENCES, found, given, strict=True)
        if actual != said
    ]
    return f"has {', '.join(right)}; {put}"
