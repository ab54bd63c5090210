"""What the README says is true: commands, settings, tables, figures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from typer.main import get_command

import models
from app.cli import cli
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.settings import Settings
from app.contract.spec import RunSpec
from app.routes import routers

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def _section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found, f"the README has no section '{title}'"
    return found[1]


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("|---")]


def _default(value: Any) -> str:
    return "" if value in (None, "") else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def setting_rows() -> list[str]:
    """The README's rows of settings, as the settings themselves say them."""
    return [
        f"| `RUNYARD_{name.upper()}` | {_default(field.get_default(call_default_factory=True))} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_the_table_of_settings_is_what_the_settings_say() -> None:
    lines = [line for line in _section("Settings").splitlines() if line.startswith("| `RUNYARD_")]
    assert [re.sub(r" +", " ", line) for line in lines] == [re.sub(r" +", " ", row) for row in setting_rows()]


def test_the_table_of_families_has_every_size_with_its_exact_count_and_default() -> None:
    said = {}
    for cell, sizes in _rows(_section("What it trains"))[1:]:
        said[cell.strip("`")] = sizes
    shape = models.Shape(1, 28, {"digit": 10})
    assert set(said) == set(models.families())
    for name, family in models.families().items():
        expected = []
        for size in family.sizes:
            assert size.counts[0] == models.count_parameters(models.build(name, size.name, shape))
            shown = f"**{size.name}**" if size.name == family.default else size.name
            expected.append(f"{shown} {size.counts[0]:,}")
        assert said[name].rstrip(" |") == " · ".join(expected)


def preset_rows() -> list[str]:
    """The README's rows of presets, with the count of the network that each names."""
    rows = []
    for name, said in PRESETS.items():
        facts = DATASETS[said["dataset"]]
        targets = said.get("targets", [facts.targets[0].name])
        shape = models.Shape(facts.channels, facts.side, {target: facts.target(target).classes for target in targets})
        with torch.device("meta"):
            params = models.count_parameters(models.build(said["family"], said["size"], shape))
        more = [
            f"{key} {', '.join(value) if isinstance(value, list) else value}"
            for key, value in said.items()
            if key not in ("family", "size", "dataset", "recipe")
        ]
        architecture = f"{said['family']} {said['size']}"
        rows.append(
            f"| `{name}` | {architecture} | {said['dataset']} | {said['recipe']} | {'; '.join(more)} | {params:,} |"
        )
    return rows


def recipe_rows() -> list[str]:
    """The README's rows of recipes."""
    return [
        f"| `{recipe.name}` | {', '.join(recipe.datasets) or 'any'} | {recipe.about} |" for recipe in RECIPES.values()
    ]


def dataset_rows() -> list[str]:
    """The README's rows of datasets."""
    rows = []
    for facts in DATASETS.values():
        targets = ", ".join(f"{target.name} {target.classes}" for target in facts.targets)
        where = "offline" if facts.offline else f"{facts.megabytes:g} MB"
        images = f"{facts.train:,} / {facts.validation:,} / {facts.test:,}"
        shape = f"{facts.channels}×{facts.side}×{facts.side}"
        rows.append(f"| `{facts.name}` | {shape} | {images} | {targets} | {len(facts.auxiliary) or ''} | {where} |")
    return rows


@pytest.mark.parametrize(
    ("section", "rows"),
    [("Datasets", dataset_rows), ("Recipes and presets", recipe_rows), ("Recipes and presets", preset_rows)],
    ids=["datasets", "recipes", "presets"],
)
def test_a_table_of_the_catalog_is_what_the_code_says(section: str, rows: Callable[[], list[str]]) -> None:
    lines = [re.sub(r" +", " ", line) for line in _section(section).splitlines()]
    expected = [re.sub(r" +", " ", row) for row in rows()]
    start = lines.index(expected[0])
    assert lines[start : start + len(expected)] == expected
    assert not [*lines, ""][start + len(expected)].startswith("|")


def test_the_table_of_fields_names_every_field_of_a_run_and_no_other() -> None:
    rows = _rows(_section("Launch a run"))[1:]
    named = [word for row in rows for word in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(RunSpec.model_fields)
    assert all(f"`{name}`" in README for name in [*DATASETS, *RECIPES])


def test_the_table_of_requests_has_every_route_of_the_api_and_no_other() -> None:
    said = {word for row in _rows(_section("API"))[1:] for word in re.findall(r"`([A-Z]+ /[^`]*)`", row[0])}
    real = set()
    for api, _ in routers():
        app = FastAPI(openapi_url=None)
        if api is not None:
            app.include_router(api)
        for path, methods in app.openapi()["paths"].items():
            real |= {f"{method.upper()} {path}" for method in methods}
    assert said == real


def test_every_make_target_and_program_in_a_command_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = get_command(cli).commands  # type: ignore[attr-defined]
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.S))
    for line in blocks.splitlines():
        for target in re.findall(r"^make (\w+)", line):
            assert target in targets
        for command in re.findall(r"\brunyard (\w+)$", line):
            assert command in commands
    options = {option for parameter in commands["up"].params for option in parameter.opts}
    assert set(re.findall(r"--[a-z][a-z-]*", _section("Settings"))) <= options


def test_every_file_that_is_linked_or_shown_is_there() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_figure_of_the_speed_table_stands_in_the_results() -> None:
    rows = _rows(_section("Speed"))[1:]
    kept = [json.loads(path.read_text()) for path in sorted((ROOT / "bench" / "results").glob("*.json"))]
    figures = {row["what"]: row for each in kept for row in each["rows"]}
    assert rows
    for what, shown in rows:
        measured = figures[what]
        expected = f"median {measured['median']:.3g}, 95th percentile {measured['p95']:.3g} (n = {measured['n']})"
        assert shown.rstrip(" |") == expected
