"""What ``bench/zoo.py`` trains: networks, datasets and recipes, with the accuracies that are aimed at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A network, a dataset and a recipe. ``target``: of the mean test accuracy, in percent."""

    family: str
    size: str
    dataset: str
    recipe: str
    epochs: int | None = None
    target: float | None = None
    seeds: tuple[int, ...] = (1, 2, 3)

    @property
    def title(self) -> str:
        """What a row of the results says."""
        return f"{self.family} {self.size} on {self.dataset}, recipe {self.recipe}"

    def spec(self, seed: int) -> dict[str, Any]:
        """The launch request."""
        names = {"family": self.family, "size": self.size, "dataset": self.dataset, "recipe": self.recipe}
        return names | {"seed": seed} | ({"epochs": self.epochs} if self.epochs else {})


def _on_mnist() -> Iterator[Variant]:
    defaults = {
        "simple_dense_net": ("small", "tiny", 98.3),
        "simple_mlp": ("base", "tiny", 98.3),
        "simple_cnn": ("base", "tiny", 99.4),
        "vit": ("small", "tiny", 98.7),
        "convnext_v2": ("base", "tiny", 99.3),
        "efficientnet": ("small", "tiny", 99.3),
    }
    for recipe, slack in (("fast", 0.4), ("default", 0.0)):
        for family, (size, smallest, target) in defaults.items():
            yield Variant(family, size, "mnist", recipe, target=round(target - slack, 2))
            yield Variant(family, smallest, "mnist", recipe)
    # As many of its 200 epochs as an hour of one core has room for.
    yield Variant("vit", "small", "mnist", "vit_mnist_995", epochs=23, seeds=(1,))


def _on_digits() -> Iterator[Variant]:
    sizes = {"simple_dense_net": "small", "simple_mlp": "base", "simple_cnn": "base"}
    sizes |= {"convnext_v2": "base", "vit": "small", "efficientnet": "small"}
    for family, size in sizes.items():
        yield Variant(family, size, "digits", "default", target=97.0)


def _on_cifar10() -> Iterator[Variant]:
    for family, size in (("simple_cnn", "large"), ("convnext_v2", "base"), ("vit", "small"), ("efficientnet", "small")):
        yield Variant(family, size, "cifar10", "cifar", epochs=15)
    smaller = {"simple_dense_net": "small", "simple_mlp": "base"}
    smaller |= dict.fromkeys(("simple_cnn", "convnext_v2", "efficientnet", "vit"), "tiny")
    for family, size in smaller.items():
        yield Variant(family, size, "cifar10", "cifar", epochs=15, seeds=(1,))


VARIANTS = (*_on_digits(), *_on_mnist(), *_on_cifar10())


def chosen(datasets: Iterable[str]) -> list[Variant]:
    """The variants on these datasets; BENCH_ZOO="mlp;on digits" restricts them to titles with one of these parts."""
    only = os.environ.get("BENCH_ZOO", "").split(";")
    known = set(datasets)
    return [each for each in VARIANTS if each.dataset in known and any(part in each.title for part in only)]
