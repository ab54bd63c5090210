"""Recipes and presets name only what exists."""

from __future__ import annotations

from app.contract.catalogue import Catalogue
from app.contract.recipes import PRESETS, RECIPES, recipe_settings
from app.contract.spec import RunConfig, RunSpec, resolve


def test_every_preset_can_be_launched(catalogue: Catalogue) -> None:
    assert len(PRESETS) >= 30
    for name, preset in PRESETS.items():
        found = resolve(RunSpec(preset=name), catalogue)
        assert (found.family, found.size, found.dataset) == (preset["family"], preset["size"], preset["dataset"])
        assert found.preset == name


def test_every_preset_can_be_launched_with_every_recipe(catalogue: Catalogue) -> None:
    for recipe in RECIPES:
        assert resolve(RunSpec(preset="mnist_cnn_8k", recipe=recipe), catalogue).recipe == recipe


def test_a_recipe_sets_every_training_setting_and_nothing_else(catalogue: Catalogue) -> None:
    first = set(recipe_settings("default", "simple_cnn"))
    assert first < set(RunConfig.model_fields)
    for family in [*catalogue.families, "a family of the user's own"]:
        for recipe in RECIPES:
            assert set(recipe_settings(recipe, family)) == first


def test_quick_is_shorter_than_default() -> None:
    assert recipe_settings("quick", "vit")["epochs"] < recipe_settings("default", "vit")["epochs"]


def test_reading_a_recipe_does_not_change_it() -> None:
    recipe_settings("default", "vit")["epochs"] = 999
    assert recipe_settings("default", "vit")["epochs"] != 999
