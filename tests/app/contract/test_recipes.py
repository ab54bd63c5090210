"""Recipes and presets refer only to existing names."""

from __future__ import annotations

from typing import Any

import pytest

from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES, recipe_settings
from app.contract.spec import RunConfig, RunSpec, SpecError, resolve


def test_every_preset_can_be_launched(catalog: Catalog) -> None:
    # Targets are tested with the datasets; here, that each preset sets its fields.
    assert len(PRESETS) >= 30
    for name, preset in PRESETS.items():
        found = resolve(RunSpec(preset=name), catalog)
        assert found.preset == name
        for field, value in preset.items():
            assert getattr(found, field) == value, (name, field)


def test_every_preset_can_be_launched_with_every_recipe_of_its_dataset(catalog: Catalog) -> None:
    tried = 0
    for name, preset in PRESETS.items():
        for recipe in RECIPES.values():
            if recipe.fits(DATASETS[preset["dataset"]]):
                tried += 1
                assert resolve(RunSpec(preset=name, recipe=recipe.name), catalog).recipe == recipe.name
    assert tried > 2 * len(PRESETS)


def test_a_recipe_sets_every_training_setting_and_nothing_else(catalog: Catalog) -> None:
    first = set(recipe_settings("default", "simple_cnn", "digits"))
    assert first < set(RunConfig.model_fields)
    shared = {"options", "auxiliary", "name", "tags", "notes", "priority", "device", "worker"}
    shared |= {"find_batch", "on_nonfinite", "keep_checkpoints", "keep_predictions", "robustness"}
    chosen = {"family", "size", "dataset", "targets", "recipe", "preset"}
    assert set(RunConfig.model_fields) - shared - chosen == first
    for family in [*catalog.families, "a family of the user's own"]:
        for recipe in RECIPES.values():
            for dataset in recipe.datasets or DATASETS:
                assert set(recipe_settings(recipe.name, family, dataset)) == first


def test_default_and_quick_differ_only_in_their_epochs() -> None:
    for family in ("simple_cnn", "vit"):
        default, quick = (recipe_settings(name, family, "digits") for name in ("default", "quick"))
        assert {name for name in default if default[name] != quick[name]} == {"epochs"}
        assert (default["epochs"], quick["epochs"]) == (10, 5)


def settings_of(recipe: str, family: str, dataset: str, *names: str) -> tuple[Any, ...]:
    found = recipe_settings(recipe, family, dataset)
    return tuple(found[name] for name in names)


def test_the_default_recipe_is_adam_or_adamw_along_a_cosine() -> None:
    names = ("optimizer", "lr", "weight_decay", "schedule", "lr_min", "warmup", "clip_norm", "batch_size")
    for family in ("simple_mlp", "simple_cnn", "a family of the user's own"):
        assert settings_of("default", family, "mnist", *names) == ("adam", 2e-3, 1e-4, "cosine", 0.0, 0.0, 0.0, 128)
    assert settings_of("default", "simple_dense_net", "mnist", *names[:4]) == ("adam", 2e-3, 0.0, "cosine")
    assert settings_of("default", "efficientnet", "mnist", *names[:6]) == ("adam", 5e-3, 1e-4, "cosine", 0.0, 0.1)
    convnext, vit = (settings_of("default", family, "mnist", *names[:7]) for family in ("convnext_v2", "vit"))
    assert convnext == ("adamw", 6e-3, 0.01, "cosine", 1e-5, 0.1, 0.0)
    assert vit == ("adamw", 2e-3, 0.01, "cosine", 1e-5, 0.1, 1.0)


def test_the_default_recipe_shifts_mnist_and_takes_small_batches_of_digits() -> None:
    for recipe in ("default", "quick"):
        assert settings_of(recipe, "vit", "mnist", "crop_padding", "batch_size") == (1, 128)
        assert settings_of(recipe, "vit", "digits", "crop_padding", "batch_size") == (0, 32)
        assert settings_of(recipe, "vit", "cifar10", "crop_padding", "batch_size") == (0, 128)


def test_vit_mnist_995_is_the_recipe_of_its_claim() -> None:
    names = ("optimizer", "lr", "weight_decay", "schedule", "lr_min", "epochs", "clip_norm", "batch_size")
    assert settings_of("vit_mnist_995", "vit", "mnist", "warmup") == (0.0,)
    assert settings_of("vit_mnist_995", "vit", "mnist", *names) == ("adamw", 5e-4, 1e-3, "cosine", 1e-5, 200, 1.0, 128)
    varied = settings_of("vit_mnist_995", "vit", "mnist", "crop_padding", "flip", "normalization", "seed")
    assert varied == (2, False, "half", 12345)


def test_cifar_varies_its_images_and_trains_cifar100_longer() -> None:
    names = ("crop_padding", "flip", "rotation", "clip_norm", "batch_size", "epochs")
    assert settings_of("cifar", "vit", "cifar10", *names) == (4, True, 0.0, 1.0, 128, 50)
    assert settings_of("cifar", "vit", "cifar100", *names) == (4, True, 15.0, 1.0, 128, 100)
    assert settings_of("cifar", "vit", "cifar10", "optimizer") == ("adamw",)


def test_cifar_evaluates_mirrored_views_and_does_not_mix_or_erase() -> None:
    names = ("mirror", "mixup", "cutmix", "erasing", "label_smoothing", "ema_decay")
    for family in ("simple_cnn", "convnext_v2", "vit", "efficientnet"):
        assert settings_of("cifar", family, "cifar10", *names) == (True, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_cifar_trains_efficientnet_at_twice_the_rate_of_default() -> None:
    assert settings_of("cifar", "efficientnet", "cifar10", "lr") == (1e-2,)
    assert settings_of("default", "efficientnet", "cifar10", "lr") == (5e-3,)
    for family in ("convnext_v2", "vit"):
        assert settings_of("cifar", family, "cifar10", "lr") == settings_of("default", family, "cifar10", "lr")


def test_cifar_sgd_is_sgd_along_a_cosine_for_200_epochs() -> None:
    names = ("optimizer", "lr", "momentum", "weight_decay", "schedule", "epochs", "label_smoothing")
    expected = ("sgd", 0.1, 0.9, 5e-4, "cosine", 200, 0.1)
    assert settings_of("cifar_sgd", "simple_cnn", "cifar100", *names) == expected
    assert settings_of("cifar_sgd", "simple_cnn", "cifar10", *names) == expected


def test_a_recipe_is_refused_on_a_dataset_that_it_is_not_made_for(catalog: Catalog) -> None:
    with pytest.raises(SpecError, match="recipe cifar does not support mnist; supported datasets: cifar10, cifar100"):
        resolve(RunSpec(family="vit", recipe="cifar", dataset="mnist"), catalog)


def test_a_recipe_without_a_dataset_trains_the_first_that_it_is_made_for(catalog: Catalog) -> None:
    assert resolve(RunSpec(family="vit", recipe="cifar"), catalog).dataset == "cifar10"
    assert resolve(RunSpec(family="vit", recipe="vit_mnist_995"), catalog).dataset == "mnist"
    assert resolve(RunSpec(family="vit"), catalog).dataset == "digits"


def test_a_recipe_s_seed_gives_way_to_the_user_s(catalog: Catalog) -> None:
    assert resolve(RunSpec(preset="vit_mnist_995"), catalog).seed == 12345
    assert resolve(RunSpec(preset="vit_mnist_995", seed=1), catalog).seed == 1
    assert resolve(RunSpec(preset="mnist_vit_38k"), catalog).seed == 1


def test_reading_a_recipe_does_not_change_it() -> None:
    recipe_settings("default", "vit", "digits")["epochs"] = 999
    assert recipe_settings("default", "vit", "digits")["epochs"] != 999


def test_fast_is_one_cycle_in_few_epochs_for_every_family_and_dataset() -> None:
    names = ("optimizer", "schedule", "warmup", "epochs", "batch_size", "lr")
    assert settings_of("fast", "simple_cnn", "mnist", *names) == ("adamw", "one_cycle", 0.3, 5, 128, 5e-3)
    assert settings_of("fast", "simple_cnn", "digits", *names) == ("adamw", "one_cycle", 0.3, 5, 32, 5e-3)
    assert settings_of("fast", "efficientnet", "cifar10", *names) == ("adamw", "one_cycle", 0.3, 5, 128, 1e-2)
    # Settings for a family on a dataset override those for either alone.
    assert settings_of("fast", "vit", "mnist", *names) == ("adamw", "one_cycle", 0.3, 5, 128, 4e-3)
    assert settings_of("fast", "vit", "digits", *names) == ("adamw", "one_cycle", 0.3, 10, 32, 2e-3)
    assert settings_of("fast", "family_from_outside", "digits", *names[3:]) == (5, 32, 5e-3)


def test_fast_averages_weights_and_shifts_images_on_mnist() -> None:
    names = ("ema_decay", "crop_padding")
    assert settings_of("fast", "simple_cnn", "mnist", *names) == (0.99, 1)
    assert settings_of("fast", "vit", "mnist", *names) == (0.99, 1)
    assert settings_of("fast", "simple_cnn", "digits", *names) == (0.0, 0)


def test_speedrun_is_one_cycle_with_averaged_weights() -> None:
    names = ("optimizer", "schedule", "lr", "ema_decay", "epochs", "batch_size", "precision")
    assert settings_of("speedrun", "simple_cnn", "mnist", *names) == (
        "adamw", "one_cycle", 1e-2, 0.995, 4, 128, "auto",
    )  # fmt: skip
