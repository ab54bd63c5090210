"""Forms of somebody whose queue is full: nothing is launched, and nothing typed is lost."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.contract.settings import Settings
from tests.app.routes.launch.sent import filled_in
from tests.conftest import Runs
from tests.people import NAMES, people, session
from tests.signed_program import signed

SENTENCE = "Grace may have at most 2 runs queued at once, and 0 are queued; nothing was launched."
FORM = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "name": "<b>mine</b>"}


@pytest.fixture
def grace(server: FastAPI, client: TestClient, settings: Settings) -> TestClient:
    """A browser of a member who may have two runs queued."""
    body = signed(settings)
    assert client.put(f"/api/v1/programs/{body['name']}", json=body).status_code == 200
    parts = people(server)
    parts.settings = parts.settings.model_copy(update={"most_queued": 2})
    client.cookies.update(session(parts, NAMES["member"]))
    return client


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/launch", FORM | {"seeds": "3", "lr": "0.01, 0.02"}),
        ("/programs/tune", {"v-data": "data/mine.csv", "v-epochs": "1, 2, 3", "name": "<b>mine</b>"}),
        ("/programs/tune", {"v-data": "data/mine.csv", "seeds": "3"}),
    ],
)
def test_a_form_comes_back_with_the_sentence_at_its_top(
    grace: TestClient, look: Any, runs: Runs, path: str, form: dict[str, str]
) -> None:
    page = look(grace.post(path, data=form), 409)
    assert f'<div class="reason" role="alert">{SENTENCE}</div>' in page.html
    sent = filled_in(page)
    assert {name: sent[name] for name in form} == {name: [value] for name, value in form.items()}
    assert runs.sql("SELECT count(*) FROM run")[0][0] == 0
    # What is sent again with less is launched.
    less = {name: value.partition(",")[0] for name, value in form.items()} | {"seeds": "1", "key": sent["key"][0]}
    assert grace.post(path, data=less, follow_redirects=False).status_code == 303
    assert runs.sql("SELECT count(*) FROM run")[0][0] == 1


def test_the_form_of_a_single_run_comes_back_too(grace: TestClient, look: Any, runs: Runs) -> None:
    for epochs in ("1", "2"):
        assert grace.post("/launch", data=FORM | {"epochs": epochs}, follow_redirects=False).status_code == 303
    page = look(grace.post("/launch", data=FORM | {"epochs": "3"}), 409)
    assert SENTENCE.replace("0 are", "2 are") in page.html
    assert page.one("input", name="epochs")["value"] == "3"
    assert page.one("input", name="name")["value"] == "<b>mine</b>"
    assert runs.sql("SELECT count(*) FROM run")[0][0] == 2


def test_so_does_the_form_that_extends_a_sweep(grace: TestClient, look: Any, runs: Runs) -> None:
    launched = grace.post("/launch", data=FORM | {"seeds": "2"}, follow_redirects=False).headers["location"]
    page = look(grace.post(f"{launched}/extend", data={"seeds": "4"}), 409)
    assert SENTENCE.replace("0 are", "2 are") in page.html
    assert page.one("input", name="seeds")["value"] == "4"
    assert runs.sql("SELECT count(*) FROM run")[0][0] == 2
