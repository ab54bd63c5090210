"""The playground: who votes, on what, and what is said of that; complete without a script."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.routes.playground import Bar, Chosen, Vote, verdict
from tests.checkpoints import LocalInference, finished_run, write_checkpoint
from tests.conftest import Runs

PICTURE = "digits:test:3"


@pytest.fixture
def three(server: FastAPI, runs: Runs, settings: Settings) -> list[str]:
    """Runs of three families with checkpoints, and predictions made in this process."""
    server.state.parts.inference = LocalInference(settings)
    families = (("simple_cnn", "tiny"), ("simple_mlp", "tiny"), ("vit", "tiny"))
    return [
        finished_run(runs, settings, seed, family=family, size=size)[0] for seed, (family, size) in enumerate(families)
    ]


def looked(client: TestClient, **said: Any) -> str:
    """The votes as HTML."""
    answer = client.post("/playground/look", json={"runs": ["1", "2", "3"], "picture": PICTURE} | said)
    assert answer.status_code == 200, answer.text
    return answer.text


def drawn() -> str:
    """A white line on black as a data URL."""
    image = Image.new("L", (280, 280))
    image.paste(255, (130, 40, 150, 240))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_without_checkpoints_the_page_says_how_to_get_one(client: TestClient, look: Callable[[Any], Any]) -> None:
    assert "No checkpoints yet" in look(client.get("/playground")).html


def test_every_chosen_checkpoint_votes(client: TestClient, three: list[str], look: Callable[[Any], Any]) -> None:
    page = look(client.get(f"/playground?runs=1,2,{three[2]}&picture={PICTURE}&look=1&sweep=rotation&why=1"))
    assert [vote["data-token"] for vote in page.all("article")] == ["1", "2", "3"]
    assert re.search("of 3|No majority;", page.html)
    assert page.html.count("Probability of ") == 3
    assert {method for method in ("Grad-CAM", "occlusion", "attention rollout") if method in page.html} == {
        "Grad-CAM",
        "occlusion",
        "attention rollout",
    }
    # The true class of a test picture is marked once for each that votes.
    assert page.html.count("(true)") == 3
    assert len(page.all("polyline")) == 3
    checked = [box["value"] for box in page.all("input", type="checkbox", name="runs") if "checked" in box]
    assert checked == ["3", "2", "1"]
    assert len(page.all("input", type="checkbox", name="runs")) == 3


def test_a_run_that_is_named_in_several_ways_is_chosen_and_counted_once(
    client: TestClient, three: list[str], look: Callable[[Any], Any]
) -> None:
    client.put("/api/v1/models/mine", json={"run": three[0]})
    for name in (three[0], f"{three[0]}:best", "1:best", "#1"):
        page = look(client.get("/playground", params={"runs": f"1,{name}"}))
        boxes = page.all("input", type="checkbox", name="runs")
        assert [box["value"] for box in boxes] == ["mine", "3", "2", "1"]
        assert [box["value"] for box in boxes if "checked" in box] == ["1"]
        assert "It says" in looked(client, runs=["1", name])
    # A model is a choice of its own; the checkpoint of both has one vote.
    html = looked(client, runs=["1", "mine"])
    assert html.count("<article") == 2
    assert "It says" in html
    assert looked(client, runs=["1", f"{three[0]}:last"]).count("<article") == 2


def voter(path: str, **probabilities: float) -> Vote:
    """A vote with these probabilities of classes."""
    top = max(probabilities, key=lambda label: probabilities[label])
    checkpoint = Checkpoint(path=path, epoch=1, step=1)
    return Vote(
        Chosen(path, path, None, checkpoint), top=Bar(top, probabilities[top], False), probabilities=probabilities
    )


def test_a_token_that_is_too_long_is_no_run(client: TestClient, three: list[str]) -> None:
    answer = client.get("/playground", params={"runs": f"1,{'a' * 300}"})
    assert answer.status_code == 200
    assert "a" * 100 in answer.text
    assert "a" * 101 not in answer.text


def test_without_a_majority_the_most_probable_class_leads() -> None:
    votes = [voter("a", x=0.9, y=0.1, z=0), voter("b", x=0.0, y=0.6, z=0.4), voter("c", x=0.1, y=0.3, z=0.6)]
    found = verdict(votes)
    assert (found.voting, found.leading, found.agreeing, found.majority) == (3, "x", 0, False)
    assert found.mean == pytest.approx(1 / 3)
    found = verdict([*votes, voter("d", y=1.0)])
    assert (found.leading, found.agreeing, found.majority) == ("y", 2, False)
    found = verdict([*votes, voter("d", y=1.0), voter("e", y=1.0)])
    assert (found.leading, found.agreeing, found.majority) == ("y", 3, True)
    assert verdict([]) == verdict([Vote(Chosen("f", "f"), "no checkpoint")])


@given(st.lists(st.sampled_from("xyz"), min_size=1, max_size=9))
def test_a_verdict_is_a_majority_exactly_if_more_than_half_agree(tops: list[str]) -> None:
    found = verdict([voter(str(place), **{top: 1.0}) for place, top in enumerate(tops)])
    assert found.majority == any(2 * tops.count(top) > len(tops) for top in tops)
    assert found.leading in tops
    assert found.agreeing in (0, max(map(tops.count, tops)))


def test_the_switch_for_drawings_names_the_dataset(client: TestClient, three: list[str]) -> None:
    assert "without scaling and centering them like the images of digits" in client.get("/playground?runs=1").text


def test_a_drawing_and_its_changes_are_voted_on(client: TestClient, three: list[str]) -> None:
    plain = looked(client, picture="", content=drawn())
    assert looked(client, picture="", content=drawn()) == plain
    assert looked(client, picture="", content=drawn(), changes={"rotation": 90}) != plain
    assert looked(client, picture="", content=drawn(), center="off") != plain
    assert "(true)" not in plain


def test_sliders_and_choices_in_an_address_hold(
    client: TestClient, three: list[str], look: Callable[[Any], Any]
) -> None:
    page = look(client.get("/playground?runs=1&rotation=33&blur=99&noise=x&center=off&sweep=blur&checkpoint=last"))
    values = {name: page.one("input", type="range", name=name)["value"] for name in ("rotation", "blur", "noise")}
    assert {name: float(value) for name, value in values.items()} == {"rotation": 33, "blur": 4, "noise": 0}
    assert "checked" in page.one("input", id="center")
    assert any(option.get("value") == "blur" and "selected" in option for option in page.all("option"))


def test_models_vote_under_their_name_and_unknown_ones_say_so(client: TestClient, three: list[str], runs: Runs) -> None:
    client.put("/api/v1/models/digits-production", json={"run": three[0]})
    fresh = runs.get(runs.add())
    html = looked(client, runs=["digits-production", "99", str(fresh.number)])
    assert "digits-production (#1)" in html
    assert "There is no run or model" in html
    assert "has no checkpoint yet" in html
    assert "It says" in html


def test_a_new_checkpoint_is_noticed_and_votes(
    client: TestClient, three: list[str], runs: Runs, settings: Settings
) -> None:
    def newest() -> Any:
        return client.get("/playground/newest?runs=1,2&checkpoint=last").json()

    before, votes = newest(), looked(client, runs=["1"], checkpoint="last")
    path = f"{three[0]}/1/last-30.safetensors"
    write_checkpoint(settings.artifacts, path, 50, family="simple_cnn", size="tiny")
    runs.set(three[0], checkpoint=json.dumps({"path": path, "epoch": 3, "step": 30}))
    assert newest()["1"] != before["1"]
    assert newest()["2"] == before["2"]
    assert looked(client, runs=["1"], checkpoint="last") != votes


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"picture": ""}, "Choose an image: draw one, open a file, or pick one of a dataset."),
        ({"content": base64.b64encode(b"%PDF").decode()}, "The image is not an image but a PDF."),
        ({"content": "?"}, "The image is not encoded as base64."),
        ({"picture": "digits:test:999999"}, "Digits has 360 test images, the last one is 359."),
        ({"picture": "mnist:test:1"}, "Images of mnist can be picked once a run has prepared it."),
    ],
)
def test_what_cannot_be_looked_at_is_said_in_a_sentence(
    client: TestClient, three: list[str], said: dict[str, Any], sentence: str
) -> None:
    assert f'role="alert">{sentence}<' in looked(client, **said)


def test_pages_lead_here(client: TestClient, three: list[str], look: Callable[[Any], Any]) -> None:
    page = look(client.get(f"/runs/{three[0]}"))
    assert page.one("a", id="act-try")["href"] == "/playground?runs=1"
    assert page.all("a", href="/playground")
