"""Rewrite the tables in docs/ that follow from the code: ``python -m docs.tables``.

A test fails if a table differs from what the code says, so run this after changing a setting, a catalog or a result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

import models
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.settings import Settings

FOLDER: Final = Path(__file__).parent
RESULTS: Final = FOLDER.parent / "bench" / "results"


def setting_rows() -> list[str]:
    """Environment variables with their defaults and descriptions."""
    return [
        f"| `RUNYARD_{name.upper()}` | {_default(field.get_default(call_default_factory=True))} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def _default(value: Any) -> str:
    return "" if value in (None, "") else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def family_rows() -> list[str]:
    """Families with the parameter counts of their sizes at MNIST."""
    rows = []
    for name, family in models.families().items():
        sizes = [
            f"{f'**{size.name}**' if size.name == family.default else size.name} {size.counts[0]:,}"
            for size in family.sizes
        ]
        rows.append(f"| `{name}` | {' · '.join(sizes)} |")
    return rows


def dataset_rows() -> list[str]:
    """Datasets with their shapes, splits, targets and download sizes."""
    rows = []
    for dataset in DATASETS.values():
        targets = ", ".join(f"{target.name} {target.classes}" for target in dataset.targets)
        download = "none" if dataset.offline else f"{dataset.megabytes:g} MB"
        images = f"{dataset.train:,} / {dataset.validation:,} / {dataset.test:,}"
        shape = f"{dataset.channels}×{dataset.side}×{dataset.side}"
        scalars = len(dataset.auxiliary) or ""
        rows.append(f"| `{dataset.name}` | {shape} | {images} | {targets} | {scalars} | {download} |")
    return rows


def recipe_rows() -> list[str]:
    """Recipes with the datasets that they are for."""
    return [
        f"| `{recipe.name}` | {', '.join(recipe.datasets) or 'any'} | {recipe.about} |" for recipe in RECIPES.values()
    ]


def preset_rows() -> list[str]:
    """Presets with the parameter counts of the networks that they name."""
    rows = []
    for name, settings in PRESETS.items():
        dataset = DATASETS[settings["dataset"]]
        targets = settings.get("targets", [dataset.targets[0].name])
        heads = {target: dataset.target(target).classes for target in targets}
        with torch.device("meta"):
            network = models.build(
                settings["family"], settings["size"], models.Shape(dataset.channels, dataset.side, heads)
            )
        others = [
            f"{key} {', '.join(value) if isinstance(value, list) else value}"
            for key, value in settings.items()
            if key not in ("family", "size", "dataset", "recipe")
        ]
        cells = [
            f"`{name}`",
            f"{settings['family']} {settings['size']}",
            settings["dataset"],
            settings["recipe"],
            "; ".join(others),
            f"{models.count_parameters(network):,}",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def speed_rows() -> list[str]:
    """The measurements that the page quotes, with the figures of the newest results."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    figures = {row["what"]: row for result in results for row in result["rows"]}
    rows = []
    for line in table("speed.md", "measurement"):
        label = line.strip("|").split(" | ")[0].strip()
        row = figures[label]
        figure = f"median {row['median']:.3g}, 95th percentile {row['p95']:.3g} (n = {row['n']})"
        rows.append(f"| {label} | {figure} |")
    return rows


TABLES: Final[Mapping[tuple[str, str], Callable[[], list[str]]]] = {
    ("settings.md", "variable"): setting_rows,
    ("networks.md", "family"): family_rows,
    ("datasets.md", "dataset"): dataset_rows,
    ("recipes.md", "recipe"): recipe_rows,
    ("presets.md", "preset"): preset_rows,
    ("speed.md", "measurement"): speed_rows,
}
"""Functions that return a table's rows, by page and first heading."""


def _lines(page: str, heading: str) -> tuple[list[str], int, int]:
    lines = (FOLDER / page).read_text().splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith(f"| {heading} |")) + 2
    end = next((place for place in range(first, len(lines)) if not lines[place].startswith("|")), len(lines))
    return lines, first, end


def table(page: str, heading: str) -> list[str]:
    """Return the rows of a page's table as they are now, without its head."""
    lines, first, end = _lines(page, heading)
    return lines[first:end]


def main() -> int:
    """Rewrite every table; the exit status."""
    for (page, heading), rows in TABLES.items():
        lines, first, end = _lines(page, heading)
        lines[first:end] = rows()
        (FOLDER / page).write_text("\n".join(lines) + "\n")
    print(f"{len(TABLES)} tables are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
