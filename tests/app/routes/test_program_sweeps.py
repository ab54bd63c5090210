"""Sweeps over fields of a program: what the API queues and refuses, and how they are extended and shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from app.contract.settings import Settings
from app.store.database import writing
from tests.conftest import Runs, errors_of
from tests.signed_program import signed

LR = {"low": 1e-4, "high": 0.1, "log": True}


@pytest.fixture(autouse=True)
def program(client: TestClient, settings: Settings) -> None:
    """The program "tune"."""
    assert client.put("/api/v1/programs/tune", json=signed(settings)).status_code == 200


@pytest.fixture
def launch(client: TestClient) -> Any:
    """Launch a sweep; gives the answer of the API."""

    def post(values: dict[str, Any] | None = None, key: str = "", fields: Any = None, **sweep: Any) -> Any:
        body = {"values": values or {}, "sweep": sweep, **(fields or {})}
        headers = {"idempotency-key": key} if key else {}
        return client.post("/api/v1/programs/tune/sweeps", json=body, headers=headers)

    return post


def test_a_grid_queues_each_combination_with_all_values_as_parameters(
    launch: Any, client: TestClient, runs: Runs
) -> None:
    answer = launch({"epochs": 5}, grid={"lr": ["0.1", 0.5]}, seeds=2, metric="score", fields={"tags": ["t"]})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/api/v1/sweeps/{made['id']}"
    assert (made["planned"], made["counts"], made["method"], made["title"]) == (4, {"queued": 4}, "grid", "tune · lr")
    assert made["command"] == {
        "argv": ["/venv/bin/python", "train.py", "--lr={lr}", "--epochs", "5", "--optimizer=adamw", "--note=",
                 "/jobs/data/train.csv", "--seed={seed}"],
        **{"folder": "/jobs", "restarts": 0, "seeded": True, "program": "tune"},
    }  # fmt: skip
    found = [client.get(f"/api/v1/runs/{run}").json() for run in made["runs"]]
    assert [each["sweep_values"] for each in found] == [
        {"lr": lr, "seed": seed} for seed in (0, 1) for lr in (0.1, 0.5)
    ]
    assert [each["command"]["values"]["epochs"] for each in found] == ["5"] * 4
    assert (found[2]["command"]["program"], found[2]["tags"]) == ("tune", ["t"])
    assert (found[2]["parameters"]["lr"], found[2]["parameters"]["note"]) == ("0.1", "")
    assert found[2]["title"] == "tune · epochs 5 · lr 0.1, seed 1"
    assert "--lr=0.1" in found[2]["command"]["argv"]
    assert [each.seed for each in map(runs.get, made["runs"])] == [0, 0, 1, 1]
    retried = client.post(f"/api/v1/runs/{made['runs'][2]}/cancel") and client.post(
        f"/api/v1/runs/{made['runs'][2]}/retry"
    )
    assert (retried.json()["title"], retried.json()["sweep"]) == ("tune · lr 0.1, epochs 5, seed 1", None)


def test_random_draws_are_queued_at_once_and_a_search_starts_with_none(launch: Any) -> None:
    drawn = launch(space={"lr": LR}, method="random", draws=5).json()
    assert (drawn["planned"], len(drawn["runs"])) == (5, 5)
    search = launch(space={"lr": LR}, method="tpe", draws=5, seeds=2, fields={"name": "find"}).json()
    assert (search["planned"], search["runs"], search["title"]) == (10, [], "find")


@pytest.mark.parametrize(
    ("values", "sweep", "field", "sentence"),
    [
        ({}, {"grid": {"lr": [0.1, 7]}}, "lr", "lr must be at most 1, not 7.0"),
        ({}, {"space": {"lr": {"low": 0, "high": 2}}, "method": "tpe"}, "lr", "lr must be at most 1"),
        ({"data": "/etc/passwd"}, {"grid": {"lr": [0.1]}}, "data", "data must be a path within"),
        ({}, {"grid": {"note": ["a", "b"]}}, "note", "cannot have several values"),
        ({}, {"grid": {"lr": [0.1]}, "base": {"lr": 1}}, "sweep", "base cannot be set in the sweep of a program"),
        ({}, {"grid": {"lr": [0.1]}, "pruning": "best"}, "sweep", "sweep.pruning must be one of median or asha"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    values: dict[str, Any], sweep: dict[str, Any], field: str, sentence: str, launch: Any, runs: Runs
) -> None:
    answer = launch(values, **sweep)
    assert (answer.status_code, sentence in errors_of(answer)[field]) == (422, True)
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


def test_a_program_that_is_unknown_or_was_changed_without_the_key_starts_no_sweep(
    client: TestClient, launch: Any, runs: Runs
) -> None:
    body = {"sweep": {"grid": {"lr": [0.1, 0.5]}}}
    assert client.post("/api/v1/programs/other/sweeps", json=body).status_code == 404
    with writing(runs.engine) as connection:
        connection.execute(text("UPDATE program SET content = replace(content, 'train.py', 'evil.py')"))
    answer = launch(**body["sweep"])
    assert (answer.status_code, "is not signed" in answer.text) == (409, True)
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


def test_the_same_key_of_a_request_gives_the_same_sweep(launch: Any) -> None:
    first = launch(key="once", grid={"lr": [0.1, 0.5]}).json()
    assert launch(key="once", grid={"lr": [0.1, 0.5]}).json()["id"] == first["id"]
    assert launch({"epochs": 3}, key="once", grid={"lr": [0.1, 0.5]}).status_code == 409


def test_values_seeds_and_draws_can_be_added_if_they_fit(launch: Any, client: TestClient, look: Any) -> None:
    sweep = launch(grid={"lr": [0.1, 0.5]}).json()
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert {"extend-seeds", "extend-grid.lr"} <= page.words.keys()
    assert "/venv/bin/python train.py --lr={lr} --epochs 10" in page.words["sweep-command"]
    answer = client.post(f"/sweeps/{sweep['id']}/extend", data={"grid.lr": "0.25, 7"})
    assert look(answer, 422).words["extend-error-grid.lr"] == "Lr must be at most 1, not 7.0."
    client.post(f"/sweeps/{sweep['id']}/extend", data={"grid.lr": "0.25, 0.5", "seeds": "2"})
    found = client.get(f"/api/v1/sweeps/{sweep['id']}").json()
    values = [client.get(f"/api/v1/runs/{run}").json()["sweep_values"] for run in found["runs"]]
    assert values[:3] == [{"lr": lr, "seed": 0} for lr in (0.1, 0.5, 0.25)]
    assert values[3:] == [{"lr": lr, "seed": 1} for lr in (0.1, 0.5, 0.25)]
    drawn = launch(space={"lr": LR}, method="random", draws=2).json()
    more = client.post(f"/api/v1/sweeps/{drawn['id']}/extend", json={"draws": 4}).json()
    assert (more["planned"], more["runs"][:2], more["command"]) == (4, drawn["runs"], drawn["command"])


def test_a_stopped_sweep_is_brought_back_with_its_values(launch: Any, client: TestClient, runs: Runs) -> None:
    sweep = launch({"epochs": 5}, grid={"lr": [0.1, 0.5]}).json()["id"]
    client.post(f"/sweeps/{sweep}/stop")
    (undo,) = {ended for (ended,) in runs.sql("SELECT ended_at FROM run")}
    client.post(f"/sweeps/{sweep}/restore", data={"undo": repr(undo)})
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (found["status"], found["counts"]) == ("running", {"queued": 2})
    restored = [client.get(f"/api/v1/runs/{run}").json()["parameters"] for run in found["runs"]]
    assert [(each["lr"], each["epochs"]) for each in restored] == [("0.1", "5"), ("0.5", "5")]


def test_its_page_names_the_best_of_numbers_choices_and_switches(
    launch: Any, client: TestClient, look: Any, runs: Runs
) -> None:
    grid = {"lr": [0.1, 0.5], "optimizer": ["sgd", "adamw"], "augment": [True, False]}
    sweep = launch(grid=grid, metric="score", direction="maximize").json()
    for value, run in enumerate(sweep["runs"]):
        runs.set(run, status="running", fence=1, started_at=1_700_000_000.0)
        point = {"key": "score", "value": value if value != 5 else 100, "step": 0, "timestamp": 0}
        sent = client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": [point]})
        assert sent.status_code == 200
        runs.finish(run)
    found = client.get(f"/api/v1/sweeps/{sweep['id']}").json()
    best = {"lr": 0.5, "optimizer": "sgd", "augment": False, "seed": 0}
    assert (found["best"]["values"], found["best"]["value"]) == (best, 100)
    page = look(client.get(f"/sweeps/{sweep['id']}"))
    assert page.words["sweep-best"] == "100"
    assert {"scatter-lr", "best-so-far", "importances"} <= page.words.keys()
    assert "lr 0.5, optimizer sgd, augment no" in page.html
    compared = look(client.get(found["compare_url"]))
    assert "Comparing 8 runs" in compared.html
    assert "tune · lr × optimizer × augment" in client.get("/sweeps").text


def test_runs_without_the_metric_are_told_with_what_they_logged(
    launch: Any, client: TestClient, look: Any, runs: Runs
) -> None:
    sweep = launch(grid={"lr": [0.1, 0.5]}).json()
    for run in sweep["runs"]:
        runs.set(run, status="running", fence=1, started_at=1_700_000_000.0)
        point = {"key": "score", "value": 1.0, "step": 0, "timestamp": 0}
        client.post("/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": [point]})
        runs.finish(run)
    sentence = "2 runs ended without a value of val/acc; logged metrics: score; choose one of them as the objective"
    assert client.get(f"/api/v1/sweeps/{sweep['id']}").json()["unmeasured"] == sentence


def test_secrets_of_the_program_are_not_shown(client: TestClient, settings: Settings) -> None:
    changed = signed(settings, command=["train", "--token", "s3cret", "{lr}"], environment={"KEY": "v4lue"},
                     fields=[{"name": "lr", "type": "float"}])  # fmt: skip
    assert client.put("/api/v1/programs/tune", params={"replace": True}, json=changed).status_code == 200
    body = {"sweep": {"grid": {"lr": [0.1, 0.5]}}}
    made = client.post("/api/v1/programs/tune/sweeps", json=body).json()
    assert made["command"]["argv"] == ["train", "--token", "…", "{lr}"]
    shown = json.dumps([made, *(client.get(f"/api/v1/runs/{run}").json() for run in made["runs"])])
    assert "v4lue" not in shown
    assert "s3cret" not in shown
