"""Launching a whole family or the whole zoo: the plan first, nothing by accident, and never twice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.contract.catalog import Catalog
from app.contract.spec import FieldError, RunConfig, SpecError
from app.routes.architectures.launch import FIELDS, make_plan, read_form

FAMILY = {"family": "vit", "dataset": "digits"}


def plan_page(client: TestClient, look: Any, **said: str) -> Any:
    return look(client.get("/architectures/launch", params=said))


def fields_of(page: Any) -> dict[str, str]:
    """What a browser would send when the button is pressed."""
    found = {each["name"]: each.get("value", "") for each in page.all("input") if "name" in each}
    chosen, name = {}, ""
    for tag, attributes in page.elements:
        if tag == "select":
            name = attributes.get("name", "")
        elif tag == "option" and "selected" in attributes:
            chosen[name] = attributes["value"]
    return found | {name: value for name, value in chosen.items() if name in FIELDS}


def titles(runs: Any) -> list[tuple[str, str]]:
    return [(family, size) for family, size in runs.sql("SELECT family, size FROM run ORDER BY number")]


def test_the_plan_of_a_family_names_every_size_smallest_first_and_launches_nothing(
    client: Any, look: Any, runs: Any
) -> None:
    page = plan_page(client, look, **FAMILY)
    assert page.words["plan-runs"] == "4 runs"
    planned = fields_of(page)["planned"]
    assert planned == "digits/default/ vit/tiny vit/small vit/base vit/large"
    assert "Launch 4 runs" in page.html
    assert titles(runs) == []


def test_the_whole_zoo_leaves_out_what_would_hold_up_the_others_and_says_so(client: Any, look: Any) -> None:
    page = plan_page(client, look, dataset="cifar100")
    left_out = page.html.split('id="left-out-title"')[1]
    assert "huge" in left_out
    assert "more than 5,000,000 parameters" in left_out
    chosen = fields_of(page)["planned"].split()[1:]
    assert page.words["plan-runs"] == f"{len(chosen)} runs"
    assert "vit/large" not in chosen
    everything = plan_page(client, look, dataset="cifar100", most="0")
    assert everything.words["plan-runs"] == "29 runs"
    assert "Skipped" not in everything.html


def test_one_press_launches_every_size_under_one_tag(client: Any, look: Any, runs: Any) -> None:
    said = fields_of(plan_page(client, look, **FAMILY, epochs="3"))
    answer = client.post("/architectures/launch", data=said, follow_redirects=False)
    assert answer.status_code == 303
    # As one sweep, whose page has the link to their comparison from the first second.
    page = look(client.get(answer.headers["location"]))
    ids = ",".join(run for (run,) in runs.sql("SELECT id FROM run ORDER BY number"))
    assert page.one("a", id="sweep-compare")["href"] == f"/compare?runs={ids}"
    assert page.words["sweep-compare"] == "Compare all 4 runs"
    assert titles(runs) == [("vit", "tiny"), ("vit", "small"), ("vit", "base"), ("vit", "large")]
    tagged = client.get("/api/v1/runs?tag=all-sizes-vit-digits-1").json()["runs"]
    assert [each["spec"]["epochs"] for each in tagged] == [3, 3, 3, 3]
    assert look(client.get("/runs?tag=all-sizes-vit-digits-1")).words["runs-total"].startswith("4")


def test_pressed_twice_or_sent_again_it_launches_once(client: Any, look: Any, runs: Any) -> None:
    said = fields_of(plan_page(client, look, **FAMILY))
    first, second = (client.post("/architectures/launch", data=said, follow_redirects=False) for _ in range(2))
    assert first.headers["location"] == second.headers["location"]
    assert len(titles(runs)) == 4


def test_a_page_from_the_history_launches_only_what_was_not_launched_from_it(client: Any, look: Any, runs: Any) -> None:
    first = fields_of(plan_page(client, look, **FAMILY))
    part = look(client.get("/architectures/launch/plan", params=first | {"most": "100000"}))
    client.post("/architectures/launch", data=fields_of(part), follow_redirects=False)
    assert titles(runs) == [("vit", "tiny")]
    client.post("/architectures/launch", data=first, follow_redirects=False)
    assert titles(runs) == [("vit", "tiny"), ("vit", "small"), ("vit", "base"), ("vit", "large")]


def test_a_plan_made_anew_launches_others_under_the_next_tag(client: Any, look: Any, runs: Any) -> None:
    for expected in ("all-sizes-vit-digits-1", "all-sizes-vit-digits-2"):
        said = fields_of(plan_page(client, look, **FAMILY))
        assert said["tag"] == expected
        client.post("/architectures/launch", data=said, follow_redirects=False)
    assert len(titles(runs)) == 8


@pytest.mark.parametrize(
    "change", [{"family": "simple_cnn"}, {"dataset": "mnist"}, {"epochs": "99"}, {"most": "100000"}]
)
def test_what_was_not_shown_is_not_launched(client: Any, look: Any, runs: Any, change: dict[str, str]) -> None:
    said = fields_of(plan_page(client, look, **FAMILY)) | change
    page = look(client.post("/architectures/launch", data=said), 422)
    assert "The form changed after the plan was made, so nothing was launched" in page.html
    assert titles(runs) == []
    again = fields_of(page)
    assert client.post("/architectures/launch", data=again, follow_redirects=False).status_code == 303
    assert titles(runs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "nothing"}, "No dataset &#39;nothing&#39;. Datasets: digits, mnist"),
        ({"family": "nope"}, "No family &#39;nope&#39;. Families: simple_dense_net"),
        ({"epochs": "many"}, "Epochs must be a whole number."),
        ({"epochs": "0"}, "Epochs must be at least 1."),
        ({"most": "lots"}, "The maximum number of parameters must be a whole number; 0 means no limit."),
        ({"tag": ""}, "Enter a tag so you can find these runs later."),
        (
            {"recipe": "cifar"},
            "Recipe cifar does not support digits; supported datasets: cifar10, cifar100, your own color images.",
        ),
        ({"recipe": "magic"}, "No recipe &#39;magic&#39;; recipes: default"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(
    client: Any, look: Any, runs: Any, change: dict[str, str], words: str
) -> None:
    said = FAMILY | {"tag": "mine"} | change
    page = plan_page(client, look, **said)
    (name,) = change
    assert words.replace("&#39;", "'") in page.words[f"all-error-{name}"]
    assert page.one("button", id="launch-all-button")["disabled"] == ""
    assert look(client.post("/architectures/launch", data=said), 422)
    assert titles(runs) == []


def test_a_size_that_does_not_fit_the_dataset_is_left_out_with_the_reason(server: FastAPI, catalog: Catalog) -> None:
    vit = catalog.families["vit"]
    sizes = [size.model_copy(update={"params": {}}) if size.name == "tiny" else size for size in vit.sizes]
    other = Catalog(families={"vit": vit.model_copy(update={"sizes": sizes})})
    plan = make_plan(server.state.parts, other, read_form(FAMILY | {"tag": "mine"}), {})
    assert [(each.size, each.why_not) for each in plan.left_out] == [("tiny", "not supported on digits")]
    assert [each.size for each in plan.chosen] == ["small", "base", "large"]


def test_a_size_from_outside_that_cannot_be_trained_is_left_out_with_its_sentence(
    server: FastAPI, client: Any, look: Any, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    vit = catalog.families["vit"].model_copy(update={"source": "/data/nets/vit.py"})
    changed = catalog.model_copy(update={"families": catalog.families | {"vit": vit}})
    checked = []

    class Checking:
        async def catalog(self) -> Catalog:
            return changed

        async def check(self, config: RunConfig) -> None:
            checked.append((config.family, config.size))
            if config.size == "large":
                raise SpecError([FieldError("dataset", "logits of digit are 7 wide, not 10")])

    monkeypatch.setattr(server.state.parts, "inspector", Checking())
    page = plan_page(client, look, dataset="digits", most="0")
    assert checked == [("vit", size.name) for size in vit.sizes]
    assert page.words["plan-runs"] == "28 runs"
    assert "logits of digit are 7 wide, not 10" in page.html.split('id="left-out-title"')[1]


def test_the_time_is_told_from_finished_runs_and_says_what_is_not_known(client: Any, look: Any, trained: Any) -> None:
    nothing = plan_page(client, look, **FAMILY)
    assert "unknown" in nothing.words["plan-time"]
    # Two epochs in 130 s.
    trained(family="vit", size="tiny")
    page = plan_page(client, look, **FAMILY, epochs="4")
    assert "about 4 min 20 s of training" in page.words["plan-time"]
    assert "3 of 4 runs not estimated" in page.words["plan-time"]


def test_several_slots_share_the_time(client: Any, look: Any, trained: Any, present: Any) -> None:
    present(time.time(), slots=2)
    trained(family="vit", size="tiny")
    page = plan_page(client, look, **FAMILY, epochs="4")
    assert "about 2 min 10 s on 2 slots (4 min 20 s of training), based on earlier runs" in page.words["plan-time"]


def test_the_plan_is_renewed_while_the_form_changes(client: Any, look: Any) -> None:
    page = plan_page(client, look, **FAMILY)
    form = page.one("form", id="launch-all")
    assert (form["hx-get"], form["hx-target"]) == ("/architectures/launch/plan", "this")
    part = look(client.get(form["hx-get"], params={**fields_of(page), "most": "100,000"}))
    assert "<html" not in part.html
    assert part.words["plan-runs"] == "1 run"
    assert "more than 100,000 parameters" in part.html


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=300)))
def test_no_form_is_too_odd_to_plan(server: FastAPI, catalog: Catalog, said: dict[str, str]) -> None:
    plan = make_plan(server.state.parts, catalog, read_form(said), {})
    assert not (plan.errors and plan.chosen)
    assert plan.errors or len(plan.chosen) + len(plan.left_out) in (3, 4, 5, 8, 29)
    assert json.dumps(plan.form)
