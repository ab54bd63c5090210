"""README and docs/ are true: links, paths, commands and tables match the code."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from typer.main import get_command

import models
from _runyard import __version__
from app.cli import cli
from app.contract.datasets import DATASETS
from app.contract.recipes import RECIPES
from app.contract.spec import RunSpec
from app.contract.sweep import NOT_SWEPT
from app.routes import routers
from app.store.search.query_language import FIELD_NAMES, KINDS
from docs.tables import TABLES, table

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bench/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
README_LINES = 200
DECISION_LINES = 60
FOLDERS = "app|worker|models|tests|bench|deploy|docs|static|templates"


SECTIONS = ["Decision", "Why", "Consequences", "Verification"]


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: str(page.stem))
def test_a_decision_is_numbered_and_fits_on_a_screen(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith(f"# {int(page.name[:4])}. ")
    assert len(lines) <= DECISION_LINES
    sections = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert sections[:2] == SECTIONS[:2]
    assert sections == [section for section in SECTIONS if section in sections]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_a_percent_sign_follows_its_number_without_a_space(page: Path) -> None:
    assert re.findall(r".{0,20}\d[ \u00a0\u202f]%", page.read_text()) == []


def test_the_version_is_that_of_the_package() -> None:
    assert re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == __version__
    assert re.findall(r"this repository, version (\S+)", (ROOT / "docs" / "comparison.md").read_text()) == [__version__]


def test_the_license_is_that_of_the_license_file() -> None:
    assert (ROOT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    assert "[Apache License 2.0](LICENSE)" in (ROOT / "README.md").read_text()
    (row,) = [line for line in (ROOT / "docs" / "comparison.md").read_text().splitlines() if line[:11] == "| License |"]
    assert cells(row)[1].startswith("Apache 2.0")


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_relative_link_and_anchor_resolves(page: Path) -> None:
    text = page.read_text()
    targets = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text) + re.findall(
        r"^\[[^\]]+\]: (?!https?:)(\S+)$", text, re.M
    )
    for target in targets:
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_path_of_this_repository_exists(page: Path) -> None:
    # Links elsewhere name paths of other repositories.
    text = re.sub(r"\[[^\]]*\]\(https?:[^)]*\)", "", page.read_text())
    for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_every_test_that_the_comparison_cites_exists() -> None:
    text = (ROOT / "docs" / "comparison.md").read_text()
    cited = re.findall(r"^- R\d+: `([\w/.]+)`, `(\w+)`", text, re.M)
    assert len(cited) > 40
    for path, name in cited:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
    used = {int(number) for number in re.findall(r"\[R(\d+)\](?!:)", text)}
    assert used <= {int(number) for number in re.findall(r"^\[R(\d+)\]: ", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_command_exists_with_its_flags(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        match words:
            case ["make", target, *_]:
                assert target in targets
            case [program, *arguments] if Path(program).name == "runyard":
                check_arguments(arguments)


def check_arguments(words: list[str]) -> None:
    """Parse the arguments of ``runyard``, without running it."""
    command: Any = get_command(cli)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words[0]]
        words = words[1:]
    if words != ["--install-completion"]:
        command.make_context(command.name, words)


def test_the_flags_that_override_settings_exist() -> None:
    options = {option for parameter in get_command(cli).commands["up"].params for option in parameter.opts}  # type: ignore[attr-defined]
    assert set(re.findall(r"--[a-z][a-z-]*", (ROOT / "docs" / "settings.md").read_text())) <= options


@pytest.mark.parametrize(("place", "rows"), TABLES.items(), ids=["-".join(place) for place in TABLES])
def test_a_table_matches_the_code(place: tuple[str, str], rows: Callable[[], list[str]]) -> None:
    assert table(*place) == rows(), "run: python -m docs.tables"


def test_every_size_has_its_exact_parameter_count() -> None:
    shape = models.Shape(1, 28, {"digit": 10})
    rows = {cells(line)[0].strip("`"): line for line in table("networks.md", "family")}
    assert set(rows) == set(models.families())
    for name, family in models.families().items():
        for size in family.sizes:
            count = models.count_parameters(models.build(name, size.name, shape))
            assert size.counts[0] == count
            assert f"{size.name}** {count:,}" in rows[name] or f" {size.name} {count:,}" in rows[name]


def test_the_table_of_fields_names_every_field_of_a_run_and_no_other() -> None:
    rows = table("launch-fields.md", "field")
    named = [word for row in rows for word in re.findall(r"`(\w+)`", cells(row)[0])]
    assert sorted(named) == sorted(RunSpec.model_fields)
    assert all(f"`{name}`" in "\n".join(rows) for name in DATASETS)
    assert all(f"`{name}`" in "\n".join(table("recipes.md", "recipe")) for name in RECIPES)


def test_the_fields_that_a_sweep_cannot_vary_are_named() -> None:
    introduction = (ROOT / "docs" / "launch-fields.md").read_text().partition("\n| field |")[0]
    sentences = introduction.partition("These fields accept one value only")[2]
    assert sorted(re.findall(r"`(\w+)`", sentences)) == sorted(NOT_SWEPT)


def test_the_table_of_query_fields_names_every_field_and_no_other() -> None:
    rows = [cells(row) for row in table("query-language.md", "kind")]
    listed = [name for row in rows[:4] for name in re.findall(r"`(\w+)`", row[1])]
    assert sorted(["is", *listed]) == sorted(FIELD_NAMES)
    assert re.findall(r"`is:(\w+)`", rows[4][1]) == list(KINDS)


def commands(group: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command below a group of the command line, by its words."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*path, name))
        else:
            found[" ".join((*path, name))] = command
    return found


def test_the_command_line_page_names_every_command() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    named = {name for name in commands(get_command(cli)) if re.search(rf"\b{name}\b", text)}
    assert named == set(commands(get_command(cli)))


def test_the_commands_without_json_are_those_that_the_page_names() -> None:
    without = {
        name
        for name, command in commands(get_command(cli)).items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    (sentence,) = re.findall(r"^Every command except (.*) prints JSON", (ROOT / "docs" / "cli.md").read_text(), re.M)
    assert set(re.findall(r"`([\w-]+)`", sentence)) == without


def test_the_table_of_requests_has_every_route_of_the_api_and_no_other() -> None:
    listed = {word for row in table("api.md", "request") for word in re.findall(r"`([A-Z]+ /[^`]*)`", cells(row)[0])}
    served = set()
    for api, _ in routers():
        app = FastAPI(openapi_url=None)
        if api is not None:
            app.include_router(api)
        for path, methods in app.openapi()["paths"].items():
            served |= {f"{method.upper()} {path}" for method in methods}
    assert listed == served
