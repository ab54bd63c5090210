"""Recipes: named sets of training settings, used for every field that a launch leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from app.contract.dataset import Dataset

ONE_CYCLE_WARMUP = 0.3
"""Default warmup of one_cycle, as a fraction of all steps."""

_ADAM: dict[str, Any] = {
    "optimizer": "adam",
    "lr": 2e-3,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "schedule": "cosine",
    "lr_min": 0.0,
    "warmup": 0.0,
    "plateau_factor": 0.1,
    "plateau_patience": 10,
    "early_stopping": 0,
    "label_smoothing": 0.0,
    "class_weights": "off",
    "balanced_sampling": False,
    "clip_norm": 0.0,
    "random_crop_scale": 0.0,
    "crop_padding": 0,
    "flip": False,
    "rotation": 0.0,
    "color_jitter": 0.0,
    "erasing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "ema_decay": 0.0,
    "mirror": False,
    "normalization": "dataset",
    "epochs": 10,
    "batch_size": 128,
    "precision": "32",
    "compile": "auto",
    "deterministic": False,
    "seed": 1,
}
_ADAMW: dict[str, Any] = _ADAM | {"optimizer": "adamw", "weight_decay": 0.01, "lr_min": 1e-5, "warmup": 0.1}

_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "simple_dense_net": _ADAM | {"weight_decay": 0.0},
    "efficientnet": _ADAM | {"lr": 5e-3, "warmup": 0.1},
    "convnext_v2": _ADAMW | {"lr": 6e-3},
    "vit": _ADAMW | {"clip_norm": 1.0},
}
# Shifting MNIST by a pixel gains 0.2 to 0.9 points. With batches of 128, ten epochs on digits would be only 90 steps.
_BY_DATASET: dict[str, dict[str, Any]] = {"mnist": {"crop_padding": 1}, "digits": {"batch_size": 32}}

# Mirrored test views gain up to two points on CIFAR-10; CutMix and erasing cost small networks points.
_CIFAR = {"crop_padding": 4, "flip": True, "mirror": True, "clip_norm": 1.0, "batch_size": 128, "epochs": 50}
_CIFAR_RATES = {"efficientnet": {"lr": 1e-2}}
_CIFAR100 = {"rotation": 15.0, "epochs": 100}


@dataclass(frozen=True)
class Recipe:
    """A named set of training settings that override the family's defaults.

    ``overrides``: settings that override ``settings`` for a family, a dataset, or both ("vit/digits"), in this order.
    ``datasets``: supported datasets; empty for all. ``photographs``: whether it also supports the user's own datasets
    of color images.
    """

    name: str
    about: str
    settings: Mapping[str, Any]
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    photographs: bool = False

    def fits(self, dataset: Dataset) -> bool:
        """Whether the recipe supports ``dataset``."""
        if not self.datasets or dataset.name in self.datasets:
            return True
        return self.photographs and bool(dataset.version) and dataset.channels == 3

    @property
    def supported(self) -> str:
        """Supported datasets, for messages."""
        return ", ".join(self.datasets) + (", your own color images" if self.photographs else "")


_ALL = (
    Recipe("default", "The family's default optimizer and a cosine schedule, 10 epochs", {}, _BY_DATASET),
    Recipe("quick", "Like default, with 5 epochs; for a first try", {"epochs": 5}, _BY_DATASET),
    Recipe(
        "fast",
        "One-cycle schedule over few epochs, up to a high learning rate; bfloat16 if faster",
        {
            "optimizer": "adamw",
            "lr": 5e-3,
            "weight_decay": 0.01,
            "schedule": "one_cycle",
            "warmup": ONE_CYCLE_WARMUP,
            "lr_min": 1e-6,
            "epochs": 5,
            "precision": "auto",
        },
        overrides={
            "convnext_v2": {"lr": 8e-3},
            "vit": {"lr": 4e-3, "clip_norm": 1.0},
            "efficientnet": {"lr": 1e-2},
            # With 1,257 images in batches of 128, five epochs would be only 45 steps.
            "digits": {"batch_size": 32},
            # Averaged weights reach an accuracy about an epoch earlier; shifts gain 0.1 to 0.3 points.
            "mnist": {"ema_decay": 0.99, "crop_padding": 1},
            "convnext_v2/digits": {"epochs": 10},
            "vit/digits": {"epochs": 10, "lr": 2e-3},
        },
    ),
    Recipe(
        "speedrun",
        "For simple_cnn on MNIST, aiming at 99% as soon as possible: one-cycle schedule up to 0.01, averaged weights",
        {
            "optimizer": "adamw",
            "lr": 1e-2,
            "weight_decay": 0.01,
            "schedule": "one_cycle",
            "warmup": ONE_CYCLE_WARMUP,
            "lr_min": 1e-6,
            "clip_norm": 0.0,
            "ema_decay": 0.995,
            "epochs": 4,
            "precision": "auto",
        },
        datasets=("mnist",),
    ),
    Recipe(
        "vit_mnist_995",
        "For vit small on MNIST, aiming at 99.5% validation accuracy: 200 epochs, random crop",
        {
            "optimizer": "adamw",
            "lr": 5e-4,
            "weight_decay": 1e-3,
            "schedule": "cosine",
            "lr_min": 1e-5,
            "warmup": 0.0,
            "clip_norm": 1.0,
            "batch_size": 128,
            "epochs": 200,
            "crop_padding": 2,
            "normalization": "half",
            "seed": 12345,
        },
        datasets=("mnist", "fashion_mnist", "digits"),
    ),
    Recipe(
        "cifar",
        "Random crop, flip, mirrored test views, gradient clipping; 50 epochs, on CIFAR-100 100 with rotation",
        _CIFAR,
        overrides=_CIFAR_RATES | {"cifar100": _CIFAR100},
        datasets=("cifar10", "cifar100"),
        photographs=True,
    ),
    Recipe(
        "cifar_sgd",
        "For simple_cnn on CIFAR-100: SGD, cosine schedule from 0.1, 200 epochs, same augmentation as recipe cifar",
        _CIFAR
        | {
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": "cosine",
            "lr_min": 0.0,
            "warmup": 0.0,
            "label_smoothing": 0.1,
        },
        overrides={"cifar10": {"epochs": 200}, "cifar100": _CIFAR100 | {"epochs": 200}},
        datasets=("cifar10", "cifar100"),
        photographs=True,
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})


def recipe_settings(recipe: str, family: str, dataset: str) -> dict[str, Any]:
    """Return every training setting of ``recipe`` for ``family`` on ``dataset``.

    The default for user-defined families is Adam with a cosine schedule.
    """
    chosen = RECIPES[recipe]
    settings = {**_FAMILY_DEFAULTS.get(family, _ADAM), **chosen.settings}
    for key in (family, dataset, f"{family}/{dataset}"):
        settings |= chosen.overrides.get(key, {})
    return settings


FEWEST_STEPS = 32
SMALLEST_BATCH = 8


def fitting_batch(batch_size: int, images: int) -> int:
    """Return a recipe's batch size, halved until an epoch over so many training images has enough steps to learn."""
    while batch_size > SMALLEST_BATCH and images < FEWEST_STEPS * batch_size:
        batch_size //= 2
    return min(batch_size, max(1, images))
