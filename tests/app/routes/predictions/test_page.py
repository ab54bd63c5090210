"""/runs/{id}/predictions: what the page shows, what it leads to, and why it is empty."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.analysis.calibration import calibration
from tests.app.predicted import predictions_of
from tests.app.routes.predictions.conftest import Kept
from tests.conftest import Runs


def test_a_cell_leads_to_its_images(client: TestClient, predicted: Kept, look: Any) -> None:
    run = predicted()
    page = look(client.get(f"/runs/{run}/predictions"))
    summary = client.get(f"/api/v1/runs/{run}/predictions").json()
    cells = [cell for _, cell in page.elements if "data-cell" in cell]
    assert len(cells) == 100
    worst = summary["confusions"][0]
    href = f"/runs/{run}/predictions/pictures?head=digit&part=test&true={worst['true']}&predicted={worst['predicted']}"
    (link,) = [a for a in page.all("a", href=href) if "aria-label" in a]
    assert f": {worst['count']}," in link["aria-label"]
    gallery = look(client.get(href))
    assert len(gallery.all("figure")) == worst["count"]


def test_the_sentences_name_the_largest_confusions(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    worst = client.get(f"/api/v1/runs/{run}/predictions").json()["confusions"][0]
    share = 100 * worst["count"] / worst["of"]
    page = client.get(f"/runs/{run}/predictions").text
    assert f"{worst['true']} is taken for {worst['predicted']}</u>: {worst['count']} of {worst['of']}" in page
    assert f"({share:.1f}%)" in page
    assert "Answer only from 0.9 on: " in page


def test_every_bin_of_confidence_is_drawn_and_says_how_many_images_it_has(
    client: TestClient, predicted: Kept, look: Any
) -> None:
    run = predicted(skill=0.3)
    page = look(client.get(f"/runs/{run}/predictions"))
    kept = predictions_of(run, skill=0.3).parts["test"]["digit"]
    bins = [each for each in calibration(kept.confidence, kept.predicted == kept.labels).bins if each.count]
    assert any(each.accuracy == 0 for each in bins)
    for name in ("bin", "images"):
        heights = [float(each["height"]) for each in page.all("rect") if each.get("class") == name]
        assert len(heights) == len(bins)
        assert min(heights) >= 1
    labels = [each["aria-label"] for each in page.all("a") if each.get("aria-label", "").startswith("confidence")]
    assert re.findall(r"of ([\d,]+) images", " ".join(labels)) == [str(each.count) for each in bins]
    assert "On the diagonal, confidence equals accuracy." in page.html


def test_another_epoch_shows_other_figures_and_leads_to_its_images(client: TestClient, predicted: Kept) -> None:
    run = predicted(skill=0.95)
    address = f"/runs/{run}/predictions?part=validation"
    first, last = (client.get(f"{address}&epoch={epoch}", headers={"HX-Request": "true"}).text for epoch in (1, 4))
    assert "<html" not in first
    assert "accuracy after epoch 1" in first
    assert first.split('id="accuracy">')[1][:6] < last.split('id="accuracy">')[1][:6]
    assert "epoch=1&amp;true=" in first
    assert 'data-epochs="1,2,3,4"' in client.get(address).text


def test_many_classes_are_data_for_a_canvas(client: TestClient, predicted: Kept, look: Any) -> None:
    names = tuple(f"class {number}" for number in range(300))
    run = predicted(names=names, images=3000, head="kind", epochs=0)
    page = look(client.get(f"/runs/{run}/predictions?order=cluster"))
    assert page.one("canvas") == {}
    assert page.one("script", id="matrix-data")
    assert "And 100 more classes" in page.html


def test_the_table_is_sorted_as_the_address_says(client: TestClient, predicted: Kept, look: Any) -> None:
    run = predicted()
    classes = client.get(f"/api/v1/runs/{run}/predictions").json()["classes"]
    page = client.get(f"/runs/{run}/predictions?by=-f1").text
    rows = page.split('<table id="classes">')[1].split("<tbody>")[1].split("<tr>")[1:]
    best = max(classes, key=lambda each: each["f1"])
    assert f"<u>{best['label']}</u>" in rows[0]
    assert 'aria-sort="descending"' in page


def test_without_predictions_the_page_offers_to_evaluate(client: TestClient, trained: Any, runs: Runs) -> None:
    run = trained()
    runs.set(run, best_checkpoint='{"path": "x", "epoch": 1, "step": 1, "kept": false}')
    page = client.get(f"/runs/{run}/predictions").text
    assert "No predictions are kept for this run" in page
    assert "Evaluate now" in page


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"status": "running"}, "Predictions are there a few seconds after the first epoch"),
        ({"status": "cancelled"}, "before its first checkpoint"),
    ],
)
def test_a_run_that_cannot_be_evaluated_says_why(
    client: TestClient, runs: Runs, values: dict[str, str], sentence: str
) -> None:
    run = runs.add()
    runs.set(run, **values)
    page = client.get(f"/runs/{run}/predictions").text
    assert sentence in page
    assert "Evaluate now" not in page


def test_what_is_not_there_is_told_with_what_is(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    for query, sentence in (
        ("head=color", "this run does not predict 'color'; it predicts: digit"),
        ("part=train", "no predictions for the split 'train'; there are some for: test, validation"),
        ("part=validation&epoch=9", "no predictions after epoch 9; there are some after 4 epochs, 1 to 4"),
        ("epoch=1", "predictions after each epoch are kept for validation images only"),
    ):
        answer = client.get(f"/api/v1/runs/{run}/predictions?{query}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == sentence
        assert client.get(f"/runs/{run}/predictions?{query}").status_code == 404
