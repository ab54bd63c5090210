"""The commands beside the form launch what the form would."""

from __future__ import annotations

import json
import shlex
from inspect import Signature
from typing import Any

import typer
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.cli.flags import parameters, read_flags
from app.cli.launch_plan import make_plan
from app.contract.catalog import Catalog
from app.contract.spec import RunSpec
from app.routes.launch.commands import USUAL_ADDRESS, commands_of
from app.routes.launch.form import form_of, read_draft
from tests.app.routes.launch.strategies import configs

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


def test_the_flags_are_the_fields_with_dashes() -> None:
    spec = RunSpec.model_validate(
        {
            "family": "vit",
            "options": {"pool": "mean", "patch": 7},
            "targets": ["digit", "thickness"],
            "batch_size": 64,
            "lr": 0.002,
            "flip": True,
            "deterministic": False,
            "auxiliary": True,
            "priority": -5,
        }
    )
    words = commands_of(spec, USUAL_ADDRESS).runyard
    assert words.startswith("runyard launch --")
    for flag in (
        "--family vit",
        "--option pool=mean --option patch=7",
        "--targets digit,thickness",
        "--batch-size 64",
        "--lr 0.002",
        "--flip",
        "--no-deterministic",
        "--auxiliary",
        "--priority=-5",
    ):
        assert f" {flag} " in f"{words} ", flag


def test_another_address_is_said() -> None:
    found = commands_of(RunSpec(family="vit"), "http://[::1]:9000/")
    assert found.runyard == "RUNYARD_URL='http://[::1]:9000' runyard launch --family vit"
    assert shlex.split(found.curl.replace("\\\n", ""))[1] == "http://[::1]:9000/api/v1/runs"


@given(name=WORDS, notes=WORDS, option=WORDS)
def test_any_words_survive_a_shell(name: str, notes: str, option: str) -> None:
    spec = RunSpec.model_validate({"family": "vit", "name": name, "notes": notes, "options": {"pool": option}})
    found = commands_of(spec, USUAL_ADDRESS)
    body = shlex.split(found.curl)[-1]
    assert RunSpec.model_validate(json.loads(body)) == spec
    words = shlex.split(found.runyard)
    read = dict(zip(words, [*words[1:], ""], strict=True))
    read |= dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
    assert (read["--name"], read["--notes"]) == (spec.name, spec.notes)
    assert read["--option"] == f"pool={option}"


def read_as_typed(words: list[str]) -> dict[str, Any]:
    """What `runyard launch` reads from its arguments."""
    heard: list[dict[str, Any]] = []

    def launch(**given: Any) -> None:
        heard.append(given)

    launch.__signature__ = Signature(parameters())  # type: ignore[attr-defined]
    launch.__annotations__ = {}
    command = typer.Typer()
    command.command()(launch)
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    return read_flags(heard[0])


@given(data=st.data())
def test_the_command_line_launches_the_run_of_the_form(data: st.DataObject, catalog: Catalog) -> None:
    draft = read_draft(form_of(data.draw(configs(catalog))), catalog)
    assert draft.spec is not None
    words = shlex.split(commands_of(draft.spec, USUAL_ADDRESS).runyard)
    assume(words)
    plan = make_plan(read_as_typed(words[2:]), catalog)
    assert [each.config for each in plan.runs] == [draft.config]


def test_tags_that_the_command_line_cannot_say_are_left_to_curl() -> None:
    for tags in (["a,b"], ["a", "a"]):
        found = commands_of(RunSpec(family="vit", tags=tags), USUAL_ADDRESS)
        assert found.runyard == ""
        assert json.loads(shlex.split(found.curl)[-1])["tags"] == tags
