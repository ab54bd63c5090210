"""Exports of runs and curves as files."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.formats.summary_values import EventMetadata
from app.formats.tfevents import read_scalars
from app.store.curve import Curve
from app.store.database import next_commit, writing
from app.store.metric import add_points
from tests.conftest import Runs


def lines(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


Log = Callable[[str, str, list[float]], None]


@pytest.fixture
def log(engine: Engine) -> Log:
    """Add a curve of these values to a run."""
    import numpy as np

    def add(run: str, name: str, values: list[float]) -> None:
        n = len(values)
        curve = Curve(np.arange(n, dtype="<u4"), np.array(values, "<f8"), 1.7e9 + np.arange(n, dtype="<f8"))
        with writing(engine) as connection:
            add_points(connection, run, name, curve, next_commit(connection))

    return add


def test_the_run_table_is_a_file_of_facts_settings_and_figures(client: TestClient, runs: Runs, log: Log) -> None:
    one, two = runs.add(tags=["a", "b"], lr=0.5), runs.add(family="vit", name="=1+1")
    log(one, "val/acc", [0.25, 0.75, 0.5])
    log(one, "test/acc", [0.9, 0.4])
    answer = client.get("/api/v1/runs.csv?sort=number")
    assert answer.headers["content-disposition"] == 'attachment; filename="runs.csv"'
    first, second = lines(answer)
    assert (first["id"], first["family"], first["lr"], first["tags"]) == (one, "simple_mlp", "0.5", "a b")
    assert (first["val/acc"], first["test/acc"]) == ("0.75", "0.4")
    assert (second["id"], second["title"], second["val/acc"]) == (two, "'=1+1", "")


def test_a_file_has_the_runs_that_the_table_has(client: TestClient, runs: Runs, log: Log) -> None:
    made = [runs.add(family=family, seed=seed) for family in ("vit", "simple_mlp") for seed in range(3)]
    for place, run in enumerate(made):
        log(run, "val/acc", [place / 10])
    for query in ("", "family=vit", "q=seed:1", "sort=-val/acc", "family=vit&sort=val/acc", "status=failed"):
        listed = client.get(f"/api/v1/runs?{query}").json()["runs"]
        assert [row["id"] for row in lines(client.get(f"/api/v1/runs.csv?{query}"))] == [run["id"] for run in listed]
    assert client.get("/api/v1/runs.csv?q=val/acc>>1").status_code == 422
    assert client.get("/api/v1/runs.csv?sort=nothing").status_code == 422
    assert client.get("/api/v1/runs.xlsx").status_code in (404, 422)


def test_more_runs_than_a_slice_are_all_there_in_their_order(
    client: TestClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.formats.table.SLICE", 2)
    made = [runs.add() for _ in range(7)]
    assert [row["id"] for row in lines(client.get("/api/v1/runs.csv"))] == made[::-1]
    assert [run["id"] for run in client.get("/api/v1/runs.json").json()["runs"]] == made[::-1]


def test_as_json_values_keep_their_kind_and_what_is_not_finite_is_null(
    client: TestClient, runs: Runs, log: Log
) -> None:
    run = runs.add(tags=["a"])
    log(run, "val/loss", [math.nan])
    (found,) = json.loads(client.get("/api/v1/runs.json").text)["runs"]
    assert (found["number"], found["tags"], found["flip"], found["val/loss"]) == (1, ["a"], False, None)
    assert json.loads(client.get("/api/v1/runs.json?family=none").text) == {"runs": []}


def test_a_run_that_was_logged_has_its_own_parameters_and_no_settings(client: TestClient, runs: Runs) -> None:
    runs.add()
    head = {"key": "0123456789", "experiment": "old", "name": "one", "started": 1.0, "ended": 2.0}
    client.post("/api/v1/import", json=head | {"parameters": {"opt": "lion"}})
    logged, launched = lines(client.get("/api/v1/runs.csv"))
    assert (logged["param.opt"], logged["optimizer"], logged["epochs"], logged["origin"]) == (
        "lion",
        "",
        "",
        "tensorboard",
    )
    assert (launched["param.opt"], launched["optimizer"], launched["origin"]) == ("", "adam", "")


def test_parquet_without_its_library_is_refused_in_a_sentence(
    client: TestClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.add()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = client.get("/api/v1/runs.parquet")
    assert answer.status_code == 501
    assert 'pip install "runyard[parquet]"' in answer.json()["detail"]


def test_parquet_has_the_same_rows_where_its_library_is_there(client: TestClient, runs: Runs, log: Log) -> None:
    run = runs.add(tags=["a"])
    log(run, "val/acc", [0.5])
    table = parquet.read_table(io.BytesIO(client.get("/api/v1/runs.parquet").content))
    (row,) = table.to_pylist()
    assert (row["id"], row["number"], row["val/acc"], row["tags"], row["flip"]) == (run, 1, 0.5, '["a"]', False)


def test_curves_are_files_of_every_point(client: TestClient, runs: Runs, log: Log) -> None:
    run = runs.add()
    log(run, "val/acc", [0.5, math.nan])
    log(run, "train/loss", [float(i) for i in range(30_000)])
    table = lines(client.get(f"/api/v1/runs/{run}/curves.csv"))
    assert len(table) == 30_002
    assert table[0] == {"metric": "train/loss", "step": "0", "value": "0.0", "time": "1700000000.0"}
    assert table[-1]["value"] == ""
    told = client.get(f"/api/v1/runs/{run}/curves.json?names=val/acc").json()
    assert told == {"val/acc": {"step": [0, 1], "value": [0.5, None], "time": [1.7e9, 1.7e9 + 1]}}
    assert client.get(f"/api/v1/runs/{run}/curves.csv?names=none").status_code == 404
    assert client.get("/api/v1/runs/nobody/curves.csv").status_code == 404
    assert client.get(f"/api/v1/runs/{runs.add()}/curves.json").json() == {}


def test_an_event_file_has_every_point_and_a_name_that_tensorboard_finds(
    client: TestClient, runs: Runs, log: Log
) -> None:
    run = runs.add()
    log(run, "val/acc", [0.5, 0.25, math.inf])
    answer = client.get(f"/api/v1/runs/{run}/curves.tfevents")
    assert "events.out.tfevents.1700000000.runyard-1" in answer.headers["content-disposition"]
    found = list(read_scalars(io.BytesIO(answer.content), EventMetadata()))
    assert [(each.tag, each.step, each.value, each.time) for each in found] == [
        ("val/acc", 0, 0.5, 1.7e9),
        ("val/acc", 1, 0.25, 1.7e9 + 1),
        ("val/acc", 2, math.inf, 1.7e9 + 2),
    ]
