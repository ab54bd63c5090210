"""The page of a robustness card, its metrics, and the comparison of two."""

from __future__ import annotations

import csv
import io
import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.charts.robustness_card import LABEL_GAP, draw_cards
from app.contract.events import Checkpoint
from app.contract.model_jobs import RobustnessResult
from app.services.job_results import EFFECTS, robustness_metrics
from app.store import model_job
from app.store.database import next_commit, writing
from tests.app.routes.conftest import Page
from tests.conftest import Runs

Look = Callable[..., Page]
CORRUPTIONS = ("gaussian_noise", "jpeg", "rotation")


def result(level: float, heads: tuple[str, ...] = ("digit",)) -> RobustnessResult:
    rows = {name: [level - 0.1 * i for i in range(5)] for name in CORRUPTIONS}
    return RobustnessResult(
        dataset="digits",
        images=360,
        seed=0,
        epoch=2,
        step=200,
        strengths=5,
        clean=dict.fromkeys(heads, 0.95),
        mean=dict.fromkeys(heads, level - 0.2),
        accuracy=dict.fromkeys(heads, rows),
        parameters={name: [f"{name} {i}" for i in range(5)] for name in CORRUPTIONS},
    )


@pytest.fixture
def examined(runs: Runs, engine: Engine, trained: Callable[..., str]) -> Callable[..., str]:
    """Adds a run with a card, as a job that has succeeded leaves it."""

    def add(level: float, heads: tuple[str, ...] = ("digit",), run: str = "") -> str:
        run = run or trained("succeeded")
        best = Checkpoint(path=f"{run}/1/best.safetensors", epoch=2, step=200, best=True)
        runs.set(run, best_checkpoint=best.model_dump_json())
        found = result(level, heads).model_dump()
        with writing(engine) as connection:
            job = model_job.add_job(connection, run, "robustness", {"seed": 0}, time.time())
            model_job.begin_job(connection, job.id, time.time())
            model_job.end_job(connection, job.id, "succeeded", time.time(), result=found)
            EFFECTS["robustness"](connection, job, found, next_commit(connection), time.time())
        return run

    return add


def test_a_run_without_a_card_says_how_to_get_one(client: TestClient, look: Look, runs: Runs, examined: Any) -> None:
    bare = examined(0.9)
    runs.sql("SELECT 1")
    with writing(runs.engine) as connection:
        connection.exec_driver_sql("DELETE FROM model_job")
    page = look(client.get(f"/runs/{bare}/robustness"))
    assert page.one("button", id="robustness-start")
    live = runs.add()
    page = look(client.get(f"/runs/{live}/robustness"))
    assert not page.all("button", id="robustness-start")
    assert "This run has not ended yet (status: queued)." in page.html
    assert client.get("/runs/none/robustness").status_code == 404
    assert client.get(f"/runs/{bare}/robustness?with=none").status_code == 404


def test_a_card_is_a_table_and_a_figure(client: TestClient, look: Look, examined: Any) -> None:
    run = examined(0.9)
    page = look(client.get(f"/runs/{run}/robustness"))
    assert len(page.all("polyline")) == len(CORRUPTIONS) + 1
    assert "JPEG" in page.html
    assert "gaussian noise" in page.html
    cells = [found for found in page.all("td") if "heat-" in found.get("class", "")]
    assert len(cells) == 5 * (len(CORRUPTIONS) + 1)
    assert cells[0] == {"class": "n heat-9", "title": "gaussian_noise 0"}
    assert "70.0%" in page.html
    assert page.one("a", href=f"/runs/{run}/robustness", aria_current="page")


def test_two_cards_are_shown_beside_each_other(client: TestClient, look: Look, examined: Any) -> None:
    run, other = examined(0.9), examined(0.85)
    page = look(client.get(f"/runs/{run}/robustness?with={other}"))
    assert page.html.count(">+5.0<") == 6 * (len(CORRUPTIONS) + 1)
    assert len(page.all("polyline")) == len(CORRUPTIONS) + 2
    assert page.one("option", value=other)
    with writing(client.app.state.parts.engine) as connection:  # type: ignore[attr-defined]
        connection.execute(text("DELETE FROM model_job WHERE run = :run"), {"run": other})
    page = look(client.get(f"/runs/{run}/robustness?with={other}"))
    assert "has no robustness card yet" in page.html


def test_small_numbers_and_a_missing_other_run_are_explained(client: TestClient, look: Look, examined: Any) -> None:
    run = examined(0.9)
    page = look(client.get(f"/runs/{run}/robustness"))
    assert "No other run on digits was measured yet." in page.words["robustness-alone"]
    assert "small numbers" not in page.html
    other = examined(0.85)
    page = look(client.get(f"/runs/{run}/robustness?with={other}"))
    assert "robustness-alone" not in page.words
    assert "The small numbers are the difference to run #2, in percentage points." in page.html


def test_a_card_is_a_csv_file(client: TestClient, examined: Any, runs: Runs) -> None:
    run, other = examined(0.9, ("digit", "thickness")), examined(0.85)
    answer = client.get(f"/runs/{run}/robustness.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="robustness-1.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 2 * (1 + 5 * len(CORRUPTIONS))
    assert rows[0] == {"target": "digit", "corruption": "", "strength": "0", "parameters": "", "run 1": "0.95"}
    assert float(rows[3]["run 1"]) == pytest.approx(0.9 - 0.1 * 2)
    assert (rows[3]["corruption"], rows[3]["strength"], rows[3]["parameters"]) == (
        "gaussian_noise",
        "3",
        "gaussian_noise 2",
    )
    beside = list(csv.DictReader(io.StringIO(client.get(f"/runs/{run}/robustness.csv?with={other}").text)))
    by_target = {
        target: [row["run 2"] for row in beside if row["target"] == target] for target in ("digit", "thickness")
    }
    assert float(by_target["digit"][1]) == pytest.approx(0.85)
    assert set(by_target["thickness"]) == {""}
    assert client.get(f"/runs/{runs.add()}/robustness.csv").status_code == 409


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_labels_of_lines_do_not_cover_each_other(ends: list[float]) -> None:
    found = result(0.9)
    values = {f"corruption {i}": [end] * 5 for i, end in enumerate(ends)}
    changes = {"accuracy": {"digit": values}, "parameters": {name: ["x"] * 5 for name in values}}
    (card,) = draw_cards(found.model_copy(update=changes), None, 1, 0)
    places = sorted(line.end for line in card.lines)
    assert all(after - before >= LABEL_GAP - 0.2 for before, after in itertools.pairwise(places))
    assert places[-1] <= 100
    assert len({line.css for line in card.lines}) == len(card.lines)


def test_several_heads_have_a_card_each(client: TestClient, look: Look, examined: Any) -> None:
    run = examined(0.9, ("digit", "thickness"))
    page = look(client.get(f"/runs/{run}/robustness"))
    assert len(page.all("section", class_="robustness-card")) == 2
    names = set(robustness_metrics(result(0.9, ("digit", "thickness"))))
    assert {"robust/digit/acc", "robust/thickness/jpeg/acc"} < names


def test_its_means_are_metrics_of_the_run_until_it_is_measured_again(
    client: TestClient, look: Look, examined: Any
) -> None:
    run, other = examined(0.9), examined(0.8)

    def robust() -> dict[str, float]:
        summary = client.get(f"/api/v1/runs/{run}").json()["summary"]
        return {name: round(found["last"], 6) for name, found in summary.items() if name.startswith("robust/")}

    means = {f"robust/{name}/acc": 0.7 for name in CORRUPTIONS}
    assert robust() == means | {"robust/acc": 0.7}
    examined(0.95, run=run)
    assert robust()["robust/acc"] == 0.75
    assert "robust/acc" in look(client.get(f"/compare?runs={run},{other}")).html
    listed = client.get("/api/v1/runs?sort=-robust/acc").json()["runs"]
    assert [each["id"] for each in listed][:2] == [run, other]
    charts = [found["data-chart"] for found in look(client.get(f"/runs/{run}")).all("figure") if "data-chart" in found]
    assert charts == ["loss", "acc", "lr"], "one point is no curve"


def test_the_form_starts_a_job_and_cancels_it(client: TestClient, look: Look, examined: Any) -> None:
    run = examined(0.9)
    answer = client.post(f"/runs/{run}/robustness", headers={"HX-Request": "true"})
    assert "robustness-live" in answer.text
    assert 'hx-trigger="every 1s"' in answer.text
    page = look(client.post(f"/runs/{run}/robustness/cancel"))
    assert not page.all("div", id="robustness-live")
    assert page.one("button", id="robustness-start")
    assert client.get(f"/api/v1/runs/{run}/jobs").json()["jobs"][0]["status"] == "cancelled"


@pytest.mark.parametrize("asked", [True, False])
def test_a_run_that_still_trains_says_whether_its_card_comes_by_itself(
    client: TestClient, runs: Runs, asked: bool
) -> None:
    run = runs.add(robustness=asked)
    runs.set(run, status="running")
    page = client.get(f"/runs/{run}/robustness").text
    assert "This run has not ended yet (status: running)." in page
    assert ("The card is measured as soon as it has succeeded." in page) == asked
