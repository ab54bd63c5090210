"""/api/v1/recipes and /presets: the catalog of choices for a run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES, recipe_settings
from app.contract.spec import FieldError, SpecError
from app.web.dependencies import CatalogDep

api = APIRouter(tags=["catalog"])


class RecipeOut(BaseModel):
    """A recipe with its settings per family on ``dataset``; ``datasets``: those that it supports."""

    name: str
    about: str
    datasets: list[str]
    dataset: str
    settings: dict[str, dict[str, Any]]


class RecipesOut(BaseModel):
    recipes: list[RecipeOut]


class PresetsOut(BaseModel):
    presets: dict[str, dict[str, Any]]


@api.get("/recipes")
def get_recipes(catalog: CatalogDep, dataset: str | None = None) -> RecipesOut:
    """List all recipes with their settings on ``dataset`` (default: each recipe's first dataset)."""
    if dataset is not None and dataset not in DATASETS:
        raise SpecError([FieldError("dataset", f"no dataset '{dataset[:40]}'; datasets: {', '.join(DATASETS)}")])
    datasets = {
        recipe.name: dataset or next(iter(recipe.datasets), "digits")
        for recipe in RECIPES.values()
        if dataset is None or recipe.fits(DATASETS[dataset])
    }
    return RecipesOut(
        recipes=[
            RecipeOut(
                name=name,
                about=RECIPES[name].about,
                datasets=list(RECIPES[name].datasets or DATASETS),
                dataset=dataset_name,
                settings={family: recipe_settings(name, family, dataset_name) for family in catalog.families},
            )
            for name, dataset_name in datasets.items()
        ]
    )


@api.get("/presets")
def get_presets() -> PresetsOut:
    """List all presets: named combinations of family, size, dataset and recipe."""
    return PresetsOut(presets={name: dict(preset) for name, preset in PRESETS.items()})
