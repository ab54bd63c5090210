"""What a script logs is stored as it was said, and nothing else is taken."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.contract import broker
from app.store.database import reading
from app.store.metric import read_curves
from tests.app.store.curves import STEPS
from tests.conftest import Runs

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script

NOW = 1_700_000_000_000


def curve(engine: Engine, run: str, name: str) -> tuple[list[int], list[float], list[float]]:
    with reading(engine) as connection:
        found = read_curves(connection, run, [name], 0)[name]
    return found.steps.tolist(), found.values.tolist(), found.times.tolist()


def test_points_are_stored_with_their_steps_and_milliseconds(script: Script, engine: Engine) -> None:
    run = script.begin()
    script.say("/runs/log-metric", run_id=run, run_uuid=run, key="val/acc", value=0.5, timestamp=NOW + 1, step=10)
    script.say("/runs/log-metric", run_id=run, key="val/acc", value=0.75, timestamp=NOW + 2, step=20)
    assert curve(engine, run, "val/acc") == ([10, 20], [0.5, 0.75], [1_700_000_000.001, 1_700_000_000.002])
    told = script.get(run)["data"]["metrics"]
    assert told == [{"key": "val/acc", "value": 0.75, "step": 20, "timestamp": NOW + 2}]


def test_what_protobuf_writes_as_text_is_a_number(script: Script, engine: Engine) -> None:
    run = script.begin()
    script.say("/runs/log-metric", run_id=run, key="loss", value="NaN", timestamp=str(NOW), step="1")
    script.say("/runs/log-metric", run_id=run, key="loss", value="-Infinity", timestamp=str(NOW), step="2")
    steps, values, _ = curve(engine, run, "loss")
    assert steps == [1, 2]
    assert math.isnan(values[0])
    assert values[1] == -math.inf
    told = script.ask("/metrics/get-history", run_id=run, metric_key="loss")["metrics"]
    assert [each["value"] for each in told] == ["NaN", "-Infinity"]


def test_points_of_one_step_stay_in_the_order_in_which_they_were_said(script: Script, engine: Engine) -> None:
    run = script.begin()
    metrics = [
        {"key": "loss", "value": float(value), "timestamp": NOW + value, "step": step}
        for value, step in enumerate([5, 1, 1, 5, 0])
    ]
    script.say("/runs/log-batch", run_id=run, metrics=metrics)
    assert curve(engine, run, "loss")[:2] == ([0, 1, 1, 5, 5], [4.0, 1.0, 2.0, 0.0, 3.0])


@given(points=st.lists(st.tuples(STEPS, st.floats(-9, 9)), min_size=1, max_size=12), size=st.integers(1, 12))
def test_any_64_bit_steps_come_back_by_every_way(
    script: Script, client: TestClient, points: list[tuple[int, float]], size: int
) -> None:
    run = script.begin()
    metrics = [
        # Protobuf's JSON writes 64-bit integers as text.
        {"key": "loss", "value": value, "timestamp": str(NOW + i), "step": str(step) if i % 2 else step}
        for i, (step, value) in enumerate(points)
    ]
    for first in range(0, len(metrics), size):
        script.say("/runs/log-batch", run_id=run, metrics=metrics[first : first + size])
    expected = sorted(points, key=lambda point: point[0])
    history = script.ask("/metrics/get-history", run_id=run, metric_key="loss")["metrics"]
    # By time, as MLflow's server gives them.
    assert [(each["step"], each["value"]) for each in history] == points
    (newest,) = script.get(run)["data"]["metrics"]
    assert (newest["step"], newest["value"]) == expected[-1]
    answer = client.get(f"/api/v1/runs/{run}/metrics?points=0").json()["loss"]
    assert list(zip(answer["step"], answer["value"], strict=True)) == expected
    table = list(csv.DictReader(io.StringIO(client.get(f"/api/v1/runs/{run}/curves.csv").text)))
    assert [(int(row["step"]), float(row["value"])) for row in table] == expected
    steps = [step for step, _ in expected]
    inside = client.get(f"/api/v1/runs/{run}/metrics?points=0&first={steps[0]}&last={steps[0]}").json()["loss"]
    assert inside["step"] == [step for step in steps if step == steps[0]]
    page = client.get(f"/runs/{run}/points").json()["points"]["loss"]
    assert page["step"] == steps
    assert page.get("exact") == (list(map(str, steps)) if max(map(abs, steps)) >= 2**53 else None)


def test_a_batch_of_earlier_steps_that_comes_twice_is_stored_once(script: Script, engine: Engine) -> None:
    run = script.begin()
    for step in (100, 7, 50):
        for _ in range(2):
            script.say("/runs/log-metric", run_id=run, key="loss", value=1.0, timestamp=NOW + step, step=step)
    assert curve(engine, run, "loss")[0] == [7, 50, 100]


def test_a_batch_that_comes_twice_is_stored_once(script: Script, engine: Engine) -> None:
    run = script.begin()
    for _ in range(2):
        script.log(run, loss=[3.0, 2.0, 1.0])
    script.say("/runs/log-metric", run_id=run, key="loss", value=1.0, timestamp=NOW + 2000, step=2)
    assert curve(engine, run, "loss")[1] == [3.0, 2.0, 1.0]
    script.say("/runs/log-metric", run_id=run, key="loss", value=1.0, timestamp=NOW + 2001, step=2)
    assert curve(engine, run, "loss")[1] == [3.0, 2.0, 1.0, 1.0]


def test_a_point_that_stands_twice_in_a_batch_is_stored_once(script: Script, engine: Engine) -> None:
    run = script.begin()
    points = [(4, 1.0, 30), (4, math.nan, 20), (4, math.nan, 20), (3, 9.0, 40), (4, 1.0, 30), (4, 2.0, 30)]
    metrics = [
        {"key": "loss", "value": "NaN" if math.isnan(value) else value, "timestamp": NOW + at, "step": step}
        for step, value, at in points
    ]
    script.say("/runs/log-batch", run_id=run, metrics=metrics)
    steps, values, _ = curve(engine, run, "loss")
    assert (steps, list(map(str, values))) == ([3, 4, 4, 4], ["9.0", "1.0", "nan", "2.0"])
    # As in MLflow: the newest at the largest step, of several the largest.
    assert script.get(run)["data"]["metrics"] == [{"key": "loss", "value": 2.0, "step": 4, "timestamp": NOW + 30}]


@pytest.mark.parametrize(("value", "told"), [("Infinity", "Infinity"), ("-Infinity", "-Infinity"), ("NaN", "NaN")])
def test_a_last_value_that_is_not_finite_is_told_as_it_is(script: Script, value: str, told: str) -> None:
    run = script.begin()
    script.log(run, loss=[1.0, 2.0, value], acc=["-Infinity", 0.5])
    assert [(each["key"], each["value"]) for each in script.get(run)["data"]["metrics"]] == [
        ("acc", 0.5),
        ("loss", told),
    ]


def test_a_thousand_entries_are_one_commit_and_one_notice(script: Script, runs: Runs, redis: Redis) -> None:
    run = script.begin()
    told: Any = cast(Any, redis).pubsub(ignore_subscribe_messages=True)
    told.subscribe(broker.COMMITS)
    told.get_message(timeout=2)
    before = runs.commit()
    script.log(run, **{f"metric_{i}": [float(i)] * 10 for i in range(100)})
    assert runs.commit() == before + 1
    notice: Any = told.get_message(timeout=2)
    assert json.loads(notice["data"])["runs"] == {run: ["metrics", "progress"]}
    assert told.get_message() is None
    assert runs.sql("SELECT count(*), sum(points) FROM metric_series WHERE run = :run", run=run) == [(100, 1000)]
    told.close()


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ({"key": "", "value": 1.0}, "key of a metric"),
        ({"key": "k" * 251, "value": 1.0}, "key of a metric"),
        ({"key": "a", "value": "much"}, "value of metric 'a' must be a number"),
        ({"key": "a", "value": True}, "value of metric 'a' must be a number"),
        ({"key": "a"}, "value of metric 'a' must be a number"),
        ({"key": "a", "value": 1.0, "step": -(2**63) - 1}, "step of metric 'a'"),
        ({"key": "a", "value": 1.0, "step": 2**63}, "step of metric 'a'"),
        ({"key": "a", "value": 1.0, "step": "-9223372036854775809"}, "step of metric 'a'"),
        ({"key": "a", "value": 1.0, "step": 1.5}, "step of metric 'a'"),
        ({"key": "a", "value": 1.0, "timestamp": -5}, "timestamp of metric 'a'"),
    ],
)
def test_what_is_no_point_is_refused_and_nothing_of_its_batch_is_stored(
    metric: dict[str, Any], words: str, script: Script, runs: Runs
) -> None:
    run = script.begin()
    good = {"key": "good", "value": 1.0, "timestamp": NOW, "step": 0}
    code, sentence = script.refused("/runs/log-batch", run_id=run, metrics=[good, metric])
    assert code == "INVALID_PARAMETER_VALUE"
    assert words in sentence
    assert runs.sql("SELECT * FROM metric_series") == []


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"run_id": "\\ud800"}', b"\xff", b'{"run_id": 5}', b'{"metrics": 5}', b"null"]
)
def test_a_body_that_cannot_be_read_is_refused_in_mlflows_own_shape(body: bytes, client: TestClient) -> None:
    answer = client.post("/api/2.0/mlflow/runs/log-batch", content=body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error_code"] in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


def test_more_than_a_thousand_entries_are_too_many(script: Script) -> None:
    run = script.begin()
    metrics = [{"key": "a", "value": 1.0, "timestamp": NOW, "step": i} for i in range(1001)]
    assert script.refused("/runs/log-batch", run_id=run, metrics=metrics)[0] == "INVALID_PARAMETER_VALUE"


def test_a_parameter_never_changes_but_may_be_said_again(script: Script) -> None:
    run = script.begin()
    script.say("/runs/log-parameter", run_id=run, key="lr", value="0.1")
    script.say("/runs/log-batch", run_id=run, params=[{"key": "lr", "value": "0.1"}, {"key": "depth", "value": "3"}])
    code, sentence = script.refused("/runs/log-parameter", run_id=run, key="lr", value="0.2")
    assert code == "INVALID_PARAMETER_VALUE"
    assert "'lr'" in sentence
    assert "0.1" in sentence
    assert script.get(run)["data"]["params"] == [{"key": "lr", "value": "0.1"}, {"key": "depth", "value": "3"}]


def test_parameters_that_are_called_like_settings_stand_in_the_run_table(script: Script, runs: Runs) -> None:
    run = script.begin()
    params = {"lr": "0.01", "batch_size": "32", "epochs": "many", "optimizer": "lion"}
    script.say("/runs/log-batch", run_id=run, params=[{"key": k, "value": v} for k, v in params.items()])
    config = runs.get(run).config
    said: tuple[Any, ...] = (config.lr, config.batch_size, config.epochs, config.optimizer)
    assert said == (0.01, 32, None, None)
    assert config.options == params
    assert runs.sql("SELECT lr, batch_size FROM run WHERE id = :run", run=run) == [(0.01, 32)]


def test_tags_become_words_and_some_of_them_name_and_notes(script: Script, runs: Runs) -> None:
    run = script.begin(tags=[{"key": "mlflow.user", "value": "ada"}, {"key": "paper", "value": "true"}])
    script.say("/runs/set-tag", run_id=run, key="stage", value="one")
    script.say("/runs/set-tag", run_id=run, key="mlflow.note.content", value="tried at night")
    script.say("/runs/set-tag", run_id=run, key="mlflow.runName", value="better")
    found = runs.get(run)
    assert found.tags == ["paper", "stage=one"]
    assert (found.title, found.config.notes, found.environment) == ("better", "tried at night", {"user": "ada"})
    script.say("/runs/set-tag", run_id=run, key="stage", value="two")
    script.say("/runs/delete-tag", run_id=run, key="paper")
    assert runs.get(run).tags == ["stage=two"]
    assert script.refused("/runs/delete-tag", run_id=run, key="paper")[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_tag_that_was_given_on_a_page_outlives_the_words_of_the_script(
    script: Script, client: TestClient, runs: Runs
) -> None:
    run = script.begin()
    client.patch(f"/api/v1/runs/{run}", json={"tags": ["keep"], "name": "mine"})
    script.say("/runs/set-tag", run_id=run, key="stage", value="one")
    assert runs.get(run).tags == ["keep", "stage=one"]
    assert script.get(run)["info"]["run_name"] == "mine"


def test_the_dataset_that_a_script_names_is_the_runs(script: Script, runs: Runs) -> None:
    run = script.begin()
    dataset = {"name": "my scans", "digest": "abc", "source_type": "local", "source": "{}"}
    script.say("/runs/log-inputs", run_id=run, datasets=[{"dataset": dataset}])
    assert runs.get(run).dataset == "my scans"
    assert script.get(run)["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "my scans"


def test_a_dataset_that_is_logged_again_stays_as_it_was_first(script: Script) -> None:
    run = script.begin()

    def logged(name: str, digest: str, context: str) -> dict[str, Any]:
        tags = [{"key": "mlflow.data.context", "value": context}]
        return {"dataset": {"name": name, "digest": digest, "source_type": "local", "source": "x"}, "tags": tags}

    first, other = logged("scans", "ab12", "training"), logged("scans", "cd34", "testing")
    script.say("/runs/log-inputs", run_id=run, datasets=[first, other, logged("scans", "cd34", "twice")])
    script.say("/runs/log-inputs", run_id=run, datasets=[logged("scans", "ab12", "evaluation")])
    assert script.get(run)["inputs"]["dataset_inputs"] == [first, other]


@pytest.mark.parametrize("entry", [{"dataset": None}, {"dataset": "scans"}, {}])
def test_a_dataset_without_a_name_leaves_the_run_without_one(script: Script, runs: Runs, entry: dict[str, Any]) -> None:
    run = script.begin()
    script.say("/runs/log-inputs", run_id=run, datasets=[entry])
    assert runs.get(run).config.dataset == ""


def test_a_run_that_runyard_launched_is_logged_to_by_its_worker_alone(script: Script, runs: Runs) -> None:
    launched = runs.add()
    code, sentence = script.refused("/runs/log-metric", run_id=launched, key="a", value=1.0)
    assert code == "INVALID_STATE"
    assert "launched by Runyard" in sentence
    assert script.refused("/runs/log-metric", run_id="nobody", key="a", value=1.0)[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_long_curve_is_merged_and_stays_as_it_was(
    script: Script, engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.actions.tracking.MERGE_SECONDS", 0.0)
    monkeypatch.setattr("app.store.metric.MERGE_AFTER_COMMITS", 10)
    run = script.begin()
    for step in range(120):
        script.say("/runs/log-metric", run_id=run, key="loss", value=float(step), timestamp=NOW + step, step=step)
    chunks = runs.sql("SELECT count(*) FROM metric_chunk")[0][0]
    assert chunks < 60
    assert curve(engine, run, "loss")[0] == list(range(120))
    script.end(run)
    assert runs.sql("SELECT count(*) FROM metric_chunk") == [(1,)]
    assert np.array_equal(curve(engine, run, "loss")[1], np.arange(120.0))


def test_a_page_of_another_site_cannot_log(client: TestClient) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, headers=headers)
        assert answer.status_code == 403
    assert client.get("/api/v1/runs").json()["total"] == 0
