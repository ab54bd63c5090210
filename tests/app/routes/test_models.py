"""Names of models: they point, move, move back, predict, and keep the run that they point to from being deleted."""

from __future__ import annotations

import html
import io
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.store.database import writing
from tests.checkpoints import LocalInference, finished_run
from tests.conftest import Runs, errors_of

API = "/api/v1/models/digits-production"


@pytest.fixture
def pair(server: FastAPI, runs: Runs, settings: Settings) -> list[str]:
    """Two runs with checkpoints, and predictions made in this process."""
    server.state.parts.inference = LocalInference(settings)
    return [finished_run(runs, settings, seed)[0] for seed in (0, 1)]


def picture() -> list[tuple[str, tuple[str, bytes]]]:
    """A form with a black picture."""
    file = io.BytesIO()
    Image.new("L", (28, 28)).save(file, "PNG")
    return [("file", ("black.png", file.getvalue()))]


def test_a_name_points_moves_and_keeps_its_history(client: TestClient, pair: list[str]) -> None:
    first, second = pair
    made = client.put(API, json={"run": first, "by": "ada"})
    assert made.status_code == 200, made.text
    assert (made.json()["run"], made.json()["number"], made.json()["predict"]) == (first, 1, f"{API}/predict")
    client.put(API, json={"run": second})
    client.put(API, json={"run": second})  # is there already: no move
    said = client.get(API).json()
    assert said["run"] == second
    assert [(move["before"], move["after"], move["by"]) for move in said["history"]] == [(1, 2, ""), (None, 1, "ada")]
    assert client.get("/api/v1/models").json()["models"] == [said]


def test_a_program_that_asks_the_name_gets_the_answers_of_the_run_it_points_to(
    client: TestClient, pair: list[str]
) -> None:
    answers = []
    for run in pair:
        client.put(API, json={"run": run})
        said = client.post(f"{API}/predict", files=picture()).json()
        assert (said["model"], said["run"]) == ("digits-production", run)
        direct = client.post(f"/api/v1/runs/{run}/predict", files=picture()).json()
        assert said["predictions"] == direct["predictions"]
        answers.append(said["predictions"])
    assert answers[0] != answers[1]


def test_a_run_stays_while_a_name_points_to_it(client: TestClient, pair: list[str], runs: Runs, look: Any) -> None:
    first, second = pair
    client.put(API, json={"run": first})
    refused = client.delete(f"/api/v1/runs/{first}")
    assert refused.status_code == 409
    assert refused.json()["detail"] == ("the model name digits-production points to run #1; move or remove it first")
    # Neither is it deleted among others.
    client.post("/runs/delete", data={"runs": f"{first},{second}"})
    assert runs.get(first).deleted_at is None
    assert runs.get(second).deleted_at is not None
    client.put("/api/v1/models/other", json={"run": first})
    page = look(client.post(f"/runs/{first}/delete"))
    assert page.words["not-deleted"] == (
        "This run was not deleted because the model names digits-production, other point to it."
        " Move or remove them on the page Models first."
    )
    assert page.all("a", href="/models")
    assert client.delete(API).status_code == 204
    assert client.delete("/api/v1/models/other").status_code == 204
    assert "not-deleted" not in look(client.get(f"/runs/{first}?kept=1")).words
    assert client.delete(f"/api/v1/runs/{first}").status_code == 204
    assert client.post(f"/runs/{first}/delete").status_code == 404
    alive = runs.add()
    page = look(client.post(f"/runs/{alive}/delete"))
    assert page.words["not-deleted"] == "This run was not deleted because it has not ended. Stop it first."


def test_what_cannot_be_named_is_refused(client: TestClient, pair: list[str], runs: Runs) -> None:
    for name in ("r_1", "Digits", "-a", "a--b", "1a"):
        assert "lower-case letters" in errors_of(client.put(f"/api/v1/models/{name}", json={"run": pair[0]}))["name"]
    fresh = runs.add()
    assert "has no checkpoint yet" in client.put(API, json={"run": fresh}).json()["detail"]
    assert client.put(API, json={"run": "r_none"}).status_code == 404
    missing = client.post(f"{API}/predict", files=picture())
    assert (missing.status_code, missing.json()["detail"]) == (404, "no model 'digits-production'; models: none yet")
    assert client.delete(API).status_code == 404


def test_the_page_shows_names_and_moves_them_back(
    client: TestClient, pair: list[str], look: Callable[[Any], Any]
) -> None:
    assert "No models yet" in look(client.get("/models")).html
    for run in pair:
        client.post("/models", data={"name": " Digits-Production ", "run": run})
    page = look(client.get("/models"))
    page.one("section", id="model-digits-production")
    assert f"curl -F file=@image.png http://127.0.0.1:8000{API}/predict" in page.html
    assert f'href="/runs/{pair[1]}"' in page.html
    assert "digits-production" in look(client.get(f"/runs/{pair[1]}")).words["run-aliases"]
    client.post("/models/digits-production/undo")
    said = client.get(API).json()
    assert said["run"] == pair[0]
    assert [(move["before"], move["after"]) for move in said["history"]] == [(2, 1), (1, 2), (None, 1)]
    client.post("/models/digits-production/delete", data={"back": f"/runs/{pair[0]}"})
    assert client.get(API).status_code == 404
    # A name that comes back has its history.
    client.put(API, json={"run": pair[0]})
    assert len(client.get(API).json()["history"]) == 5


def test_a_name_that_never_moved_cannot_move_back(client: TestClient, pair: list[str]) -> None:
    client.put(API, json={"run": pair[0]})
    assert "has not pointed to another run before" in client.post("/models/digits-production/undo").text
    client.put(API, json={"run": pair[1]})
    assert client.delete(f"/api/v1/runs/{pair[0]}").status_code == 204
    assert "Run #1 was deleted" in client.post("/models/digits-production/undo").text


def test_a_name_points_to_a_run_by_its_number(client: TestClient, pair: list[str]) -> None:
    for number in (2, "1", "#2"):
        made = client.put(API, json={"run": number})
        assert made.json()["run"] == pair[int(str(number).removeprefix("#")) - 1]
    assert client.put(API, json={"run": 7}).status_code == 404


def test_a_move_to_another_dataset_is_said_everywhere(client: TestClient, pair: list[str], engine: Engine) -> None:
    first, second = pair
    client.put(API, json={"run": first})
    assert client.put(API, json={"run": second}).json()["warning"] == ""
    with writing(engine) as connection:
        connection.execute(
            text("UPDATE run SET config = json_set(config, '$.dataset', 'mnist') WHERE id = :run"), {"run": first}
        )
    sentence = (
        "digits-production pointed to run #2 before, which was trained on digits (digit); this one was trained on mnist"
        " (digit), so the classes may differ"
    )
    assert client.put(API, json={"run": first}).json()["warning"] == sentence
    assert f"{sentence[0].upper()}{sentence[1:]}." in html.unescape(client.get("/models").text)


def test_a_removed_name_comes_back_with_one_click(client: TestClient, pair: list[str]) -> None:
    client.put(API, json={"run": pair[0]})
    gone = client.post("/models/digits-production/delete")
    assert "<b>digits-production</b> removed; it pointed to run #1." in gone.text
    assert client.get(API).status_code == 404
    again = client.post("/models", data={"name": "digits-production", "run": "1"})
    assert "removed; it pointed" not in again.text
    assert client.get(API).json()["run"] == pair[0]
    # Only a name that was removed is offered.
    assert "removed; it" not in client.get("/models?removed=digits-production").text
    assert "removed; it" not in client.get("/models?removed=never").text


def test_only_a_run_that_waits_for_its_first_checkpoint_asks_for_its_model_names(
    client: TestClient, runs: Runs
) -> None:
    run = runs.add()
    runs.set(run, status="running")
    waiting = client.get(f"/runs/{run}/model-names").text
    assert f'hx-get="/runs/{run}/model-names"' in waiting
    assert "once there is a checkpoint" in waiting
    runs.set(run, best_checkpoint=Checkpoint(path=f"{run}/1/best.pt", epoch=1, step=9, best=True).model_dump_json())
    ready = client.get(f"/runs/{run}/model-names").text
    assert "hx-get" not in ready
    assert 'id="alias-name"' in ready
    assert client.get("/runs/none/model-names").status_code == 404
