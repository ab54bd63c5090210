"""What is shown of a run that still trains: its validation images after each epoch so far."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.contract.settings import Settings
from tests.app.predicted import keep, keep_history, predictions_of
from tests.app.routes.predictions.conftest import Kept
from tests.conftest import Runs


def test_the_newest_epoch_is_shown_and_said_to_be_one_of_a_run_that_goes_on(
    client: TestClient, training: Kept, look: Any
) -> None:
    run = training(skill=0.9)
    expected = predictions_of(run, skill=0.9)
    assert expected.history is not None
    labels = expected.parts["validation"]["digit"].labels
    page = look(client.get(f"/runs/{run}/predictions"))
    assert page.words["so-far"].strip() == (
        "Validation images after epoch 4 of 9. The run goes on. Show the newest epoch"
    )
    accuracy = 100 * (expected.history.predicted["digit"][-1] == labels).mean()
    assert page.words["accuracy"] == f"{accuracy:.2f}%"
    assert page.one("input", id="epoch-range")["max"] == "3"
    assert page.one("input", id="epoch-range")["value"] == "3"
    summary = client.get(f"/api/v1/runs/{run}/predictions").json()
    assert (summary["parts"], summary["part"], summary["epoch"]) == (["validation"], "validation", 4)
    assert summary["epochs"] == [1, 2, 3, 4]
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (labels, expected.history.predicted["digit"][-1]), 1)
    assert summary["matrix"] == matrix.tolist()


def test_an_earlier_epoch_says_how_far_the_run_is(client: TestClient, training: Kept, look: Any) -> None:
    run = training()
    fragment = client.get(f"/runs/{run}/predictions?epoch=2", headers={"HX-Request": "true"}).text
    assert "Validation images after epoch 2 of 9. The run goes on; there are predictions up to epoch 4." in fragment
    assert "accuracy after epoch 2" in fragment


def test_the_gallery_has_the_histories_so_far(client: TestClient, training: Kept, look: Any) -> None:
    run = training(skill=0.7)
    history = predictions_of(run, skill=0.7).history
    assert history is not None
    page = look(client.get(f"/runs/{run}/predictions/pictures"))
    assert "180 validation images after epoch 4" in page.html
    assert "after epoch 4 of 9. The run goes on" in page.words["so-far"]
    found = client.get(f"/api/v1/runs/{run}/predictions/pictures?limit=200").json()
    assert found["total"] == 180
    for each in found["pictures"]:
        assert each["history"]["predicted"] == history.predicted["digit"][:, each["index"]].tolist()
        assert (each["true_probability"], each["top"]) == (None, [])
    never = client.get(f"/api/v1/runs/{run}/predictions/pictures?state=never").json()
    assert {each["history"]["right"] for each in never["pictures"]} == {"0000"}
    lines = client.get(f"/api/v1/runs/{run}/predictions.csv").text.splitlines()
    assert len(lines) == 181


def test_it_is_beside_a_run_that_has_ended(client: TestClient, training: Kept, predicted: Kept) -> None:
    run, other = training(skill=0.6), predicted(skill=0.9, seed=3)
    found = client.get(f"/api/v1/runs/{run}/predictions/pictures?against={other}&outcome=second").json()
    assert found["total"] > 0
    assert all(each["predicted"] != each["true"] == each["others"][0] for each in found["pictures"])
    answer = client.get(f"/api/v1/runs/{other}/predictions/pictures?against={run}")
    assert answer.status_code == 409


def test_test_images_come_at_the_end(
    client: TestClient, training: Kept, runs: Runs, settings: Settings, engine: Engine, look: Any
) -> None:
    run = training()
    answer = client.get(f"/api/v1/runs/{run}/predictions?part=test")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no predictions for the split 'test'; there are some for: validation"
    runs.finish(run)
    keep(settings, engine, predictions_of(run))
    page = look(client.get(f"/runs/{run}/predictions"))
    assert "so-far" not in page.words
    assert client.get(f"/api/v1/runs/{run}/predictions").json()["part"] == "test"


@pytest.mark.parametrize(("outcome", "said"), [("cancelled", "was stopped"), ("failed", "has ended (failed)")])
def test_a_run_that_ended_with_its_history_alone_still_shows_it_and_can_be_evaluated(
    client: TestClient, training: Kept, runs: Runs, look: Any, outcome: str, said: str
) -> None:
    run = training()
    before = client.get(f"/api/v1/runs/{run}/predictions").json()
    runs.finish(run, outcome)
    runs.set(run, best_checkpoint='{"path": "x", "epoch": 1, "step": 1}')
    page = look(client.get(f"/runs/{run}/predictions"))
    assert f"Validation images after epoch 4 of 9. The run {said}." in page.words["so-far"]
    assert "It ended before its best checkpoint predicted the images; evaluate it." in page.html
    assert page.one("button", id="evaluate")
    assert page.one("input", id="epoch-range")["max"] == "3"
    assert client.get(f"/api/v1/runs/{run}/predictions").json() == before
    assert client.get(f"/runs/{run}/predictions/pictures").status_code == 200
    assert "HX-Refresh" in client.get(f"/runs/{run}/predictions/progress").headers


def test_a_history_without_a_checkpoint_is_shown_without_an_offer(
    client: TestClient, training: Kept, runs: Runs, look: Any
) -> None:
    run = training()
    runs.finish(run, "failed")
    page = look(client.get(f"/runs/{run}/predictions"))
    assert "It ended without a checkpoint, so only the history of its validation images is kept." in page.html
    assert not page.all("button", id="evaluate")


def test_a_page_that_is_opened_before_the_first_epoch_fills_by_itself(
    client: TestClient, runs: Runs, settings: Settings, engine: Engine, look: Any
) -> None:
    run = runs.add(epochs=9)
    runs.set(run, status="running")
    waiting = f"/runs/{run}/predictions/progress"
    assert look(client.get(f"/runs/{run}/predictions")).one("div", role="status")["hx-get"] == waiting
    answer = client.get(waiting)
    assert (waiting in answer.text, "HX-Refresh" in answer.headers) == (True, False)
    keep_history(settings, engine, predictions_of(run))
    assert client.get(waiting).headers["HX-Refresh"] == "true"


def test_a_page_that_waits_for_a_run_without_predictions_ends_with_the_offer_to_evaluate(
    client: TestClient, runs: Runs
) -> None:
    run = runs.add(keep_predictions=False)
    runs.finish(run)
    runs.set(run, best_checkpoint='{"path": "x", "epoch": 1, "step": 1}')
    answer = client.get(f"/runs/{run}/predictions/progress")
    assert "This run kept no predictions (keep_predictions is false); evaluate it." in answer.text
    assert "Evaluate now" in answer.text
    assert "hx-get" not in answer.text
    assert "HX-Refresh" not in answer.headers


@pytest.mark.parametrize(("epochs", "sentence"), [(4, True), (0, False)])
def test_a_history_is_promised_only_where_there_is_one(
    client: TestClient, predicted: Kept, epochs: int, sentence: bool
) -> None:
    page = client.get(f"/runs/{predicted(epochs=epochs)}/predictions?part=test").text
    assert ("The history over epochs is kept for validation images." in page) == sentence


@pytest.mark.parametrize(
    ("keeps", "sentence"),
    [
        (True, "Predictions are there a few seconds after the first epoch"),
        (False, "This run keeps no predictions (keep_predictions is false); it can be evaluated when it has ended"),
    ],
)
def test_before_the_first_epoch_the_page_says_when_there_is_something(
    client: TestClient, runs: Runs, keeps: bool, sentence: str
) -> None:
    run = runs.add(keep_predictions=keeps)
    runs.set(run, status="running")
    assert sentence in client.get(f"/runs/{run}/predictions").text
