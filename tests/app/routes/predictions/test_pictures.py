"""The gallery and its API: which images are listed, in what order, beside other runs, and as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.contract.own_datasets import ITEMS, version_folder
from app.contract.settings import Settings
from app.routes.predictions.pictures import SHEET
from tests.app.own_dataset import describe_own_dataset
from tests.app.predicted import predictions_of
from tests.app.routes.predictions.conftest import Kept
from tests.conftest import Runs


def listed(client: TestClient, run: str, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/api/v1/runs/{run}/predictions/pictures?limit=200&{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_surest_mistake_comes_first(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    pictures = listed(client, run)["pictures"]
    assert len(pictures) == 180
    wrong = [each["confidence"] for each in pictures if each["true"] != each["predicted"]]
    assert wrong
    assert wrong == sorted(wrong, reverse=True)
    assert all(each["true"] != each["predicted"] for each in pictures[: len(wrong)])
    unsure = [each["confidence"] for each in listed(client, run, "sort=unsure")["pictures"]]
    assert unsure == sorted(unsure)


def test_pages_together_are_all_images_once(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    pages = [
        client.get(f"/api/v1/runs/{run}/predictions/pictures?offset={offset}&limit=50").json()
        for offset in (0, 50, 100, 150, 200)
    ]
    indices = [each["index"] for page in pages for each in page["pictures"]]
    assert sorted(indices) == list(range(180))
    assert pages[0]["sheet"] == "/datasets/digits/sheet.png?part=test&indices=" + ",".join(map(str, indices[:50]))
    assert pages[-1]["sheet"] == ""


@pytest.mark.parametrize("offset", [0, 60, 120])
def test_the_page_brings_what_a_script_would_ask_for_first(
    client: TestClient, predicted: Kept, look: Any, offset: int
) -> None:
    run = predicted()
    page = look(client.get(f"/runs/{run}/predictions/pictures?part=validation&offset={offset}"))
    data = json.loads(page.words["gallery-data"])
    first = client.get(f"{data['source']}&offset=0&limit=100").json()
    assert len(data["first"]["pictures"]) == SHEET == 100
    assert data["first"] == {"sheet": first["sheet"], "pictures": first["pictures"]}
    assert page.one("link", rel="preload")["href"] == first["sheet"]


def test_a_picture_tells_its_history(client: TestClient, predicted: Kept) -> None:
    run = predicted(skill=0.6)
    history = predictions_of(run, skill=0.6).history
    assert history is not None
    labels = predictions_of(run, skill=0.6).parts["validation"]["digit"].labels
    for each in listed(client, run, "part=validation")["pictures"]:
        column = history.predicted["digit"][:, each["index"]]
        assert each["history"]["predicted"] == column.tolist()
        np.testing.assert_allclose(
            each["history"]["confidence"], history.confidence["digit"][:, each["index"]], atol=6e-4
        )
        assert each["history"]["right"] == "".join("01"[int(hit)] for hit in column == labels[each["index"]])
    never = listed(client, run, "part=validation&state=never")
    assert never["total"] > 0
    assert {each["history"]["right"] for each in never["pictures"]} == {"0000"}
    assert {each["history"] for each in listed(client, run, "part=test")["pictures"]} == {None}


def test_bounds_of_confidence_are_those_of_a_bar(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    found = listed(client, run, "low=0.4&high=0.6")
    assert 0 < found["total"] < 180
    assert all(0.4 <= each["confidence"] < 0.6 for each in found["pictures"])


def test_images_that_no_run_gets_right_are_those_of_all_runs(client: TestClient, predicted: Kept) -> None:
    runs = [predicted(seed=seed, skill=0.6) for seed in (1, 10, 20)]
    wrong = [{each["index"] for each in listed(client, run, "right=false")["pictures"]} for run in runs]
    found = listed(client, runs[0], f"against={runs[1]},{runs[2]}&outcome=none")
    assert {each["index"] for each in found["pictures"]} == set.intersection(*wrong) != set()
    lines = client.get(f"/api/v1/runs/{runs[0]}/predictions.csv?against={runs[1]},{runs[2]}&outcome=none")
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    assert len(rows) == found["total"]
    assert all(row["true"] not in (row["predicted"], row["run 2"], row["run 3"]) for row in rows)


def test_one_run_right_and_the_other_wrong_is_the_reverse_of_the_reverse(client: TestClient, predicted: Kept) -> None:
    one, other = predicted(seed=1, skill=0.6), predicted(seed=10, skill=0.8)
    first = listed(client, one, f"against={other}&outcome=first")
    again = listed(client, other, f"against={one}&outcome=second")
    assert {each["index"] for each in first["pictures"]} == {each["index"] for each in again["pictures"]} != set()
    assert all(each["predicted"] == each["true"] != each["others"][0] for each in first["pictures"])
    sizes = [
        listed(client, one, f"against={other}&outcome={each}")["total"] for each in ("first", "second", "both", "none")
    ]
    assert sum(sizes) == 180


def test_a_group_votes(client: TestClient, predicted: Kept) -> None:
    runs = [predicted(seed=seed, skill=0.6) for seed in (1, 10, 20)]
    found = listed(client, runs[0], f"group={runs[1]},{runs[2]}&sort=index")
    alone = [
        [each["predicted"] for each in sorted(listed(client, run)["pictures"], key=lambda each: each["index"])]
        for run in runs
    ]
    for place, each in enumerate(found["pictures"]):
        votes = [run[place] for run in alone]
        assert votes.count(each["predicted"]) == max(map(votes.count, votes))


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("true=10", 422, "there are 10 classes, numbered from 0"),
        ("state=never&part=test", 422, "no history is kept here"),
        ("against=r_none", 404, "no run 'r_none'"),
    ],
)
def test_a_wrong_question_gets_one_sentence(
    client: TestClient, predicted: Kept, query: str, status: int, sentence: str
) -> None:
    run = predicted()
    for address in (f"/api/v1/runs/{run}/predictions/pictures", f"/api/v1/runs/{run}/predictions.csv"):
        answer = client.get(f"{address}?{query}")
        assert answer.status_code == status
        assert sentence in answer.json()["detail"]
    assert client.get(f"/runs/{run}/predictions/pictures?{query}").status_code == status


def test_runs_on_other_images_are_not_compared(client: TestClient, predicted: Kept) -> None:
    one, smaller, other = predicted(), predicted(images=90), predicted(dataset="mnist")
    for run, sentence in ((smaller, "was not evaluated on the same test images"), (other, "is of mnist")):
        answer = client.get(f"/api/v1/runs/{one}/predictions/pictures?against={run}")
        assert answer.status_code == 409
        assert sentence in answer.json()["detail"]


def test_the_csv_has_a_line_for_each_image(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    answer = client.get(f"/api/v1/runs/{run}/predictions.csv?sort=index")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    kept = predictions_of(run).parts["test"]["digit"]
    assert [int(row["index"]) for row in rows] == list(range(180))
    assert [int(row["predicted"]) for row in rows] == kept.predicted.tolist()
    np.testing.assert_allclose([float(row["true_probability"]) for row in rows], kept.true, rtol=1e-3)


def test_the_csv_of_an_epoch_has_the_epoch_in_its_name(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    names = [
        client.get(f"/api/v1/runs/{run}/predictions.csv?part=validation{query}").headers["content-disposition"]
        for query in ("", "&epoch=2")
    ]
    assert names == [
        'attachment; filename="predictions-1-validation.csv"',
        'attachment; filename="predictions-1-validation-epoch-2.csv"',
    ]


def test_an_image_of_an_own_dataset_has_the_name_of_its_file(
    client: TestClient, predicted: Kept, settings: Settings
) -> None:
    own = describe_own_dataset(settings.datasets)
    items = [f'{part},{index},rose,"rose/{part}, {index}.jpg"' for part in ("train", "test") for index in range(180)]
    file = version_folder(settings.datasets, own.name, own.version) / ITEMS
    file.write_text("\n".join(["split,index,label,path", *items]) + "\n")
    run = predicted(dataset=own.dataset.key, head="class", names=own.classes)
    for each in listed(client, run)["pictures"]:
        assert each["file"] == f"rose/test, {each['index']}.jpg"
    # No line of the list is about the validation images.
    assert {each["file"] for each in listed(client, run, "part=validation")["pictures"]} == {""}
    rows = list(csv.DictReader(io.StringIO(client.get(f"/api/v1/runs/{run}/predictions.csv?right=false").text)))
    assert rows
    assert all(row["file"] == f"rose/test, {row['index']}.jpg" for row in rows)
    file.unlink()
    assert {each["file"] for each in listed(client, run, "part=validation")["pictures"]} == {""}


def test_images_of_built_in_datasets_have_no_files(client: TestClient, predicted: Kept) -> None:
    run = predicted()
    assert {each["file"] for each in listed(client, run)["pictures"]} == {""}
    assert client.get(f"/api/v1/runs/{run}/predictions.csv").text.splitlines()[0].endswith("true_probability")


def test_an_image_can_be_tried_in_the_playground_where_there_is_a_checkpoint(
    client: TestClient, predicted: Kept, runs: Runs, look: Any
) -> None:
    run = predicted()
    page = look(client.get(f"/runs/{run}/predictions/pictures"))
    assert not page.all("a", id="picture-try")
    runs.set(run, best_checkpoint='{"path": "x", "epoch": 1, "step": 1}')
    page = look(client.get(f"/runs/{run}/predictions/pictures"))
    assert page.one("a", id="picture-try")
    data = json.loads(page.words["gallery-data"])
    assert data["playground"] == "/playground?runs=1&picture=digits:test:"


def test_without_a_script_there_are_pages(client: TestClient, predicted: Kept, look: Any) -> None:
    run = predicted()
    first = look(client.get(f"/runs/{run}/predictions/pictures"))
    assert len(first.all("figure")) == 60
    last = look(client.get(f"/runs/{run}/predictions/pictures?offset=120"))
    assert len(last.all("figure")) == 60
    assert "121–180 of 180" in last.html
    assert "<h1>180 test images</h1>" in last.html
