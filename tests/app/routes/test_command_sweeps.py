"""Sweeps over the placeholders of a signed command: who may launch one, what it queues, and what its page shows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.contract.command import Command
from app.contract.command_key import ensure_key, read_key, sign
from app.contract.settings import Settings
from tests.conftest import Runs, errors_of

LR = {"low": 1e-4, "high": 0.1, "log": True}
SEED = {"low": 0, "high": 2**32 - 1, "whole": True}
OPT = {"choice": ["adam", "sgd"]}
MLFLOW = "/api/2.0/mlflow/runs"


def command(settings: Settings, placeholders: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A command with placeholders as `runyard exec --sweep` signs it."""
    argv = ["python", "train.py", "--token", "s3cret", *(f"--{name}={{{name}}}" for name in placeholders)]
    fields = {"argv": argv, "folder": "/jobs", "environment": {"KEY": "v4lue"}, "url": "http://127.0.0.1:8000"}
    made = Command.model_validate(fields | {"placeholders": placeholders} | changes)
    return made.model_dump() | {"signature": sign(read_key(ensure_key(settings.data_dir)), made)}


@pytest.fixture
def launch(client: TestClient, settings: Settings) -> Any:
    """Launch a sweep; gives the answer of the API."""

    def post(placeholders: dict[str, Any], name: str = "", **sweep: Any) -> Any:
        body = {"command": command(settings, placeholders), "name": name, "sweep": sweep}
        answer = client.post("/api/v1/commands/sweeps", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return post


@pytest.fixture
def logged(client: TestClient) -> Any:
    """Log points and parameters to a run as MLflow's client does."""

    def log(run: str, metrics: dict[str, list[float]], **parameters: str) -> Any:
        points = [
            {"key": name, "value": value, "step": step, "timestamp": step}
            for name, values in metrics.items()
            for step, value in enumerate(values)
        ]
        given = [{"key": name, "value": value} for name, value in parameters.items()]
        return client.post(f"{MLFLOW}/log-batch", json={"run_id": run, "metrics": points, "params": given})

    return log


# Launching ------------------------------------------------------------------------------------------------------------


def test_a_grid_queues_each_combination_with_its_values_as_parameters(
    launch: Any, client: TestClient, runs: Runs
) -> None:
    made = launch({"opt": OPT, "seed": SEED}, seeds=2, metric="val_accuracy", direction="maximize")
    assert (made["planned"], made["counts"], made["method"], made["status"]) == (4, {"queued": 4}, "grid", "running")
    assert made["title"] == "train.py --token … --opt={opt} --seed={seed}"
    assert made["command"] == {
        "argv": ["python", "train.py", "--token", "…", "--opt={opt}", "--seed={seed}"],
        **{"folder": "/jobs", "restarts": 0, "seeded": True, "program": ""},
    }
    found = [client.get(f"/api/v1/runs/{run}").json() for run in made["runs"]]
    assert [each["sweep_values"] for each in found] == [
        {"opt": opt, "seed": seed} for seed in (1, 2) for opt in ("adam", "sgd")
    ]
    assert found[0]["parameters"] == {"opt": "adam", "seed": "1"}
    assert found[0]["command"]["argv"][-2:] == ["--opt=adam", "--seed=1"]
    assert found[0]["title"] == "train.py --token … --opt={opt} --seed={seed} · opt adam, seed 1"
    assert [each.seed for each in map(runs.get, made["runs"])] == [1, 1, 2, 2]
    assert {run["number"] for run in client.get("/api/v1/runs?q=seed:2").json()["runs"]} == {3, 4}
    assert "v4lue" not in json.dumps([made, *found])
    assert "s3cret" not in json.dumps([made, *found])


def test_random_draws_are_queued_at_once_and_a_search_starts_with_none(launch: Any) -> None:
    drawn = launch({"lr": LR, "opt": OPT}, method="random", draws=6)
    assert (drawn["planned"], len(drawn["runs"]), drawn["spec"]["space"].keys()) == (6, 6, {"lr", "opt"})
    search = launch({"lr": LR}, method="tpe", draws=6, name="tune")
    assert (search["planned"], search["runs"], search["title"]) == (6, [], "tune")


@pytest.mark.parametrize(
    "change",
    [
        {"placeholders": {"opt": {"choice": ["adam", "sgd", "; rm -rf /"]}}},
        {"argv": ["rm", "{opt}"]},
        {"placeholders": {}},
        {"signature": ""},
    ],
)
def test_what_is_not_signed_is_refused_and_changes_nothing(
    change: dict[str, Any], client: TestClient, settings: Settings, runs: Runs
) -> None:
    for path, more in (("sweeps", {}), ("", {"values": {"opt": "sgd"}})):
        body = {"command": command(settings, {"opt": OPT}) | more | change}
        answer = client.post(f"/api/v1/commands/{path}".rstrip("/"), json=body)
        assert answer.status_code == 403, answer.text
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


@pytest.mark.parametrize(
    ("placeholders", "sweep", "field", "sentence"),
    [
        ({"lr": LR}, {}, "lr", "a grid needs discrete values for lr"),
        ({"opt": OPT}, {"seeds": 3}, "seeds", "several seeds need a placeholder {seed} in the command"),
        ({"opt": OPT}, {"grid": {"opt": ["x"]}}, "sweep", "grid cannot be set for a sweep of a command"),
        ({"lr": LR}, {"method": "tpe", "draws": 0}, "sweep", "sweep.draws must be at least 1"),
        ({"opt": OPT}, {"pruning": "best"}, "sweep", "sweep.pruning must be one of median or asha"),
    ],
)
def test_a_sweep_that_is_not_possible_is_refused(
    placeholders: dict[str, Any],
    sweep: dict[str, Any],
    field: str,
    sentence: str,
    client: TestClient,
    settings: Settings,
    runs: Runs,
) -> None:
    body = {"command": command(settings, placeholders), "sweep": sweep}
    answer = client.post("/api/v1/commands/sweeps", json=body)
    assert answer.status_code == 422
    assert sentence in errors_of(answer)[field]
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


def test_a_single_run_takes_values_that_are_signed(client: TestClient, settings: Settings, runs: Runs) -> None:
    signed = command(settings, {"opt": OPT})
    made = client.post("/api/v1/commands", json={"command": signed | {"values": {"opt": "sgd"}}}).json()
    assert (made["parameters"], made["title"]) == ({"opt": "sgd"}, "train.py --token … --opt=sgd")
    for values in ({}, {"opt": "rmsprop"}, {"opt": "sgd", "x": 1}):
        answer = client.post("/api/v1/commands", json={"command": signed | {"values": values}})
        assert answer.status_code == 422
        assert "command" in errors_of(answer)
    assert runs.sql("SELECT count(*) FROM run") == [(1,)]


def test_the_same_key_of_a_request_gives_the_same_sweep(client: TestClient, settings: Settings) -> None:
    def post(**sweep: Any) -> Any:
        body = {"command": command(settings, {"opt": OPT}), "sweep": sweep}
        return client.post("/api/v1/commands/sweeps", json=body, headers={"idempotency-key": "once"})

    assert post().json()["id"] == post().json()["id"]
    assert post(metric="loss").status_code == 409


def test_an_experiment_in_the_trash_is_not_used(client: TestClient, settings: Settings, runs: Runs) -> None:
    experiment = client.post("/api/2.0/mlflow/experiments/create", json={"name": "old"}).json()["experiment_id"]
    client.post("/api/2.0/mlflow/experiments/delete", json={"experiment_id": experiment})
    body = {"command": command(settings, {"opt": OPT}), "experiment": "old"}
    answer = client.post("/api/v1/commands/sweeps", json=body)
    assert (answer.status_code, "is in the trash" in errors_of(answer)["experiment"]) == (422, True)
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


# Its runs -------------------------------------------------------------------------------------------------------------


def test_what_a_script_makes_of_its_values_replaces_them_once(launch: Any, client: TestClient, logged: Any) -> None:
    run = launch({"lr": {"choice": [1e-05]}, "opt": OPT})["runs"][0]
    assert client.get(f"/api/v1/runs/{run}").json()["parameters"] == {"lr": "1e-05", "opt": "adam"}
    assert logged(run, {}, lr="0.00001", opt="adam", depth="3").status_code == 200
    assert client.get(f"/api/v1/runs/{run}").json()["parameters"] == {"lr": "0.00001", "opt": "adam", "depth": "3"}
    assert logged(run, {}, lr="0.00001").status_code == 200
    refused = logged(run, {}, lr="0.5")
    assert (refused.status_code, "cannot change" in refused.json()["message"]) == (400, True)


def test_a_retry_has_the_same_values_and_a_clone_cannot_have_others(launch: Any, client: TestClient) -> None:
    run = launch({"opt": OPT})["runs"][1]
    client.post(f"/api/v1/runs/{run}/cancel")
    again = client.post(f"/api/v1/runs/{run}/retry").json()
    assert (again["parameters"], again["sweep"]) == ({"opt": "sgd"}, None)
    assert again["title"] == "train.py --token … --opt=sgd"
    answer = client.post(f"/api/v1/runs/{run}/clone", json={"values": {"opt": "rm"}})
    assert (answer.status_code, "a command stays as it was signed" in answer.text) == (422, True)


def test_a_stopped_sweep_is_brought_back_with_its_values(launch: Any, client: TestClient, runs: Runs) -> None:
    sweep = launch({"opt": OPT})["id"]
    client.post(f"/sweeps/{sweep}/stop")
    (undo,) = {ended for (ended,) in runs.sql("SELECT ended_at FROM run")}
    client.post(f"/sweeps/{sweep}/restore", data={"undo": repr(undo)})
    found = client.get(f"/api/v1/sweeps/{sweep}").json()
    assert (found["status"], found["counts"]) == ("running", {"queued": 2})
    restored = [client.get(f"/api/v1/runs/{run}").json() for run in found["runs"]]
    assert [each["parameters"] for each in restored] == [{"opt": "adam"}, {"opt": "sgd"}]


# Extending ------------------------------------------------------------------------------------------------------------


def test_seeds_and_draws_can_be_added_and_values_cannot(launch: Any, client: TestClient, runs: Runs) -> None:
    sweep = launch({"opt": OPT, "seed": SEED}, seeds=1)
    runs.set(sweep["runs"][0], seed=42)
    found = client.post(f"/api/v1/sweeps/{sweep['id']}/extend", json={"seeds": 2}).json()
    values = [client.get(f"/api/v1/runs/{run}").json()["sweep_values"] for run in found["runs"]]
    assert values == [{"opt": opt, "seed": seed} for seed in (1, 2) for opt in ("adam", "sgd")]
    answer = client.post(f"/api/v1/sweeps/{sweep['id']}/extend", json={"grid": {"opt": ["rm"]}})
    assert (answer.status_code, "the values of a command are signed" in answer.text) == (422, True)
    random = launch({"lr": LR}, method="random", draws=2)
    found = client.post(f"/api/v1/sweeps/{random['id']}/extend", json={"draws": 4}).json()
    assert (found["planned"], found["runs"][:2]) == (4, random["runs"])
    assert found["command"] == random["command"]
    answer = client.post(f"/api/v1/sweeps/{random['id']}/extend", json={"seeds": 2})
    assert (answer.status_code, "need a placeholder {seed}" in answer.text) == (422, True)


# Pages ----------------------------------------------------------------------------------------------------------------


def test_its_page_shows_the_command_and_how_to_extend_it(launch: Any, client: TestClient, look: Any) -> None:
    page = look(client.get(f"/sweeps/{launch({'opt': OPT})['id']}"))
    assert "python train.py --token … --opt={opt}" in page.words["sweep-command"]
    assert "s3cret" not in page.html
    assert "available once a run has logged it" in page.html
    assert "ETA unknown" in page.html
    assert "extend" not in page.words
    page = look(client.get(f"/sweeps/{launch({'lr': LR, 'seed': SEED}, method='tpe', draws=3)['id']}"))
    assert {"extend-seeds", "extend-draws"} <= page.words.keys()
    assert "train.py --token … --opt={opt}" in look(client.get("/sweeps")).html


def test_runs_without_the_metric_are_told_with_what_they_logged(
    launch: Any, client: TestClient, look: Any, runs: Runs, logged: Any
) -> None:
    sweep = launch({"opt": {"choice": ["a", "b", "c"]}}, metric="val_accuracy", direction="maximize")
    first, second, third = sweep["runs"]
    assert sweep["unmeasured"] == ""

    def unmeasured() -> str:
        return str(client.get(f"/api/v1/sweeps/{sweep['id']}").json()["unmeasured"])

    for run, metrics in ((first, {"acc": [0.5], "loss": [1.0]}), (second, {})):
        runs.set(run, status="running", fence=1, started_at=1_700_000_000.0)
        logged(run, metrics)
        runs.finish(run)
        sentence = "run #1 ended" if run == first else "2 runs ended"
        sentence += " without a value of val_accuracy; logged metrics: acc, loss; name one of them with --metric"
        assert unmeasured() == sentence
    assert look(client.get(f"/sweeps/{sweep['id']}")).words["unmeasured"] == f"{sentence}."
    runs.set(third, status="running", fence=1, started_at=1_700_000_000.0)
    logged(third, {"val_accuracy": [0.25, 0.75, 0.5]})
    runs.finish(third)
    found = client.get(f"/api/v1/sweeps/{sweep['id']}").json()
    assert found["best"] == {"run": third, "number": 3, "value": 0.75, "values": {"opt": "c"}}


def test_the_comparison_has_its_numbers_and_its_metric_as_axes(
    launch: Any, client: TestClient, look: Any, runs: Runs, logged: Any
) -> None:
    sweep = launch({"lr": {"choice": [0.001, 0.01, 0.1]}}, metric="score", direction="maximize")
    for value, run in enumerate(sweep["runs"]):
        runs.set(run, status="running", fence=1, started_at=1_700_000_000.0)
        logged(run, {"score": [value, value / 2]})
        runs.finish(run)
    compared = client.get(f"/api/v1/sweeps/{sweep['id']}").json()["compare_url"]
    page = look(client.get(compared))
    axes = re.findall(r'<text class="title"[^>]*>([^<]+)<', page.html)
    assert (axes[0], axes[-1]) == ("lr", "best score")
    heights = [each["data-heights"].split(",") for each in page.all("polyline") if "data-heights" in each]
    assert [line[0] for line in heights] == [line[-1] for line in heights] == ["96.00", "50.00", "4.00"]
