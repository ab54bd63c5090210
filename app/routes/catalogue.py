"""/architectures, /datasets, /recipes, /presets: what there is to choose from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.datasets import DATASETS
from app.contract.recipes import PRESETS, RECIPES, recipe_settings
from app.deps import CatalogueDep

api = APIRouter(tags=["catalogue"])


class ArchitectureOut(BaseModel):
    """One size of a family; ``params`` are exact, by dataset, with the dataset's first target as the only head."""

    family: str
    size: str
    default: bool
    definition: str
    params: dict[str, int]
    summary: str
    when: str
    reference: str
    options: dict[str, list[Any]]


class ArchitecturesOut(BaseModel):
    architectures: list[ArchitectureOut]
    broken: dict[str, str]


class TargetOut(BaseModel):
    name: str
    classes: int
    weight: float
    labels: list[str]


class DatasetOut(BaseModel):
    """Facts of a dataset: images of ``channels`` × ``side`` × ``side``; counts of images in its three parts."""

    name: str
    title: str
    channels: int
    side: int
    targets: list[TargetOut]
    train: int
    validation: int
    test: int
    source: str
    offline: bool
    megabytes: float


class DatasetsOut(BaseModel):
    datasets: list[DatasetOut]


class RecipeOut(BaseModel):
    """A named recipe and what it sets, family by family."""

    name: str
    about: str
    settings: dict[str, dict[str, Any]]


class RecipesOut(BaseModel):
    recipes: list[RecipeOut]


class PresetsOut(BaseModel):
    presets: dict[str, dict[str, Any]]


@api.get("/architectures")
def get_architectures(catalogue: CatalogueDep) -> ArchitecturesOut:
    """Every family and size."""
    return ArchitecturesOut(
        architectures=[
            ArchitectureOut(
                family=family.name,
                size=size.name,
                default=size.name == family.default,
                definition=size.definition,
                params=size.params,
                summary=family.summary,
                when=family.when,
                reference=family.reference,
                options={option.name: option.choices for option in family.options},
            )
            for family in catalogue.families.values()
            for size in family.sizes
        ],
        broken=catalogue.broken,
    )


@api.get("/datasets")
def get_datasets() -> DatasetsOut:
    """Every dataset with the targets it offers."""
    return DatasetsOut(
        datasets=[
            DatasetOut(
                name=dataset.name,
                title=dataset.title,
                channels=dataset.channels,
                side=dataset.side,
                targets=[
                    TargetOut(
                        name=target.name, classes=target.classes, weight=target.weight, labels=list(target.labels)
                    )
                    for target in dataset.targets
                ],
                train=dataset.train,
                validation=dataset.validation,
                test=dataset.test,
                source=dataset.source,
                offline=dataset.offline,
                megabytes=dataset.megabytes,
            )
            for dataset in DATASETS.values()
        ]
    )


@api.get("/recipes")
def get_recipes(catalogue: CatalogueDep) -> RecipesOut:
    """Every recipe."""
    return RecipesOut(
        recipes=[
            RecipeOut(
                name=recipe.name,
                about=recipe.about,
                settings={family: recipe_settings(recipe.name, family) for family in catalogue.families},
            )
            for recipe in RECIPES.values()
        ]
    )


@api.get("/presets")
def get_presets() -> PresetsOut:
    """Named combinations of family, size, dataset and recipe."""
    return PresetsOut(presets={name: dict(preset) for name, preset in PRESETS.items()})
