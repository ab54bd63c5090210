"""Named recipes and presets: what a run trains with where its launcher said nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

_ADAM: dict[str, Any] = {
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "schedule": "plateau",
    "lr_min": 0.0,
    "label_smoothing": 0.0,
    "clip_norm": 0.0,
    "crop_padding": 0,
    "flip": False,
    "epochs": 10,
    "batch_size": 128,
    "precision": "32",
    "deterministic": False,
}
_ADAMW_COSINE = _ADAM | {"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "lr_min": 1e-5}

_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "simple_dense_net": _ADAM | {"weight_decay": 0.0},
    "convnext_v2": _ADAMW_COSINE,
    "vit": _ADAMW_COSINE,
}


@dataclass(frozen=True)
class Recipe:
    """A named set of training settings, laid over the family's defaults."""

    name: str
    about: str
    settings: Mapping[str, Any]


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("default", "The family's own optimiser and schedule, 10 epochs", {}),
            Recipe("quick", "As default, 5 epochs: for trying out", {"epochs": 5}),
        )
    }
)


def recipe_settings(recipe: str, family: str) -> dict[str, Any]:
    """Every training setting of ``recipe`` for ``family``; families unknown here get Adam with a plateau schedule."""
    return _FAMILY_DEFAULTS.get(family, _ADAM) | dict(RECIPES[recipe].settings)


def _presets() -> dict[str, dict[str, Any]]:
    rows = """
        mnist_sdn_8k              simple_dense_net tiny     mnist
        mnist_sdn_68k             simple_dense_net small    mnist
        cifar100_sdn_1m           simple_dense_net large    cifar100
        simple_mlp_256_128        simple_mlp       base     mnist
        mnist_cnn_8k              simple_cnn       tiny     mnist
        mnist_cnn_68k             simple_cnn       small    mnist
        mnist_cnn_421k            simple_cnn       base     mnist
        cifar10_cnn_64k           simple_cnn       large    cifar10
        cifar100_cnn_64k          simple_cnn       large    cifar100
        mnist_convnext_18k        convnext_v2      tiny     mnist
        mnist_convnext_68k        convnext_v2      small    mnist
        mnist_convnext_288k       convnext_v2      base     mnist
        cifar10_convnext_210k     convnext_v2      base     cifar10
        cifar100_convnext_210k    convnext_v2      base     cifar100
        mnist_convnext_725k       convnext_v2      large    mnist
        cifar10_convnext_64k      convnext_v2      small_k3 cifar10
        cifar10_convnext_128k     convnext_v2      base_k3  cifar10
        cifar100_convnext_1m      convnext_v2      xlarge   cifar100
        cifar100_convnext_10m     convnext_v2      huge     cifar100
        mnist_vit_38k             vit              tiny     mnist
        mnist_vit_210k            vit              small    mnist
        cifar10_vit_210k          vit              small    cifar10
        cifar100_vit_210k         vit              small    cifar100
        mnist_vit_821k            vit              base     mnist
        mnist_efficientnet_22k    efficientnet     tiny     mnist
        mnist_efficientnet_66k    efficientnet     mini     mnist
        mnist_efficientnet_210k   efficientnet     small    mnist
        cifar10_efficientnet_210k efficientnet     small    cifar10
        cifar100_efficientnet_210k efficientnet    small    cifar100
        mnist_efficientnet_7m     efficientnet     large    mnist
    """
    found = {}
    for row in rows.strip().splitlines():
        name, family, size, dataset = row.split()
        found[name] = {"family": family, "size": size, "dataset": dataset}
    return found


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(_presets())
