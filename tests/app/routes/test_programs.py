"""Programs: who may add one, what a launch of one accepts, and what becomes of its values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from app.contract.command_key import ensure_key, read_key, sign_removal
from app.contract.events import Result
from app.contract.program import ProgramCall
from app.contract.settings import Settings
from app.services.recorder import Recorder
from app.store.database import writing
from tests.app.routes.test_commands import MLFLOW, start
from tests.conftest import Runs, errors_of
from tests.fake_worker import Trainer, Worker
from tests.signed_program import FIELDS, signed


@pytest.fixture
def add(client: TestClient, settings: Settings) -> Any:
    """Add a program; gives the answer of the API."""

    def put(replace: bool = False, **changes: Any) -> Any:
        body = signed(settings, **changes)
        return client.put(f"/api/v1/programs/{body['name']}", params={"replace": replace}, json=body)

    return put


@pytest.fixture
def launch(client: TestClient, add: Any) -> Any:
    """Launch the program; gives its runs."""
    assert add().status_code == 200

    def post(key: str = "", **fields: Any) -> Any:
        headers = {"idempotency-key": key} if key else {}
        answer = client.post("/api/v1/programs/tune/runs", json=fields, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["runs"]

    return post


# Who may add one -----------------------------------------------------------------------------------------------------


def test_a_signed_program_is_listed_with_its_fields_and_without_its_environment(
    add: Any, client: TestClient, settings: Settings
) -> None:
    added = add(environment={"KEY": "v4lue"}, about="tunes").json()
    assert (added["outcome"], added["variables"], added["trouble"]) == ("added", ["KEY"], "")
    (listed,) = client.get("/api/v1/programs").json()["programs"]
    assert listed == client.get("/api/v1/programs/tune").json()
    assert listed | {"outcome": "added"} == added
    assert [(each["name"], each["type"], each["default"]) for each in listed["fields"]] == [
        (each["name"], each["type"], each["default"]) for each in FIELDS
    ]
    assert "v4lue" not in json.dumps(listed)
    assert signed(settings, environment={"KEY": "v4lue"}, about="tunes")["signature"] not in json.dumps(listed)
    assert add(environment={"KEY": "v4lue"}, about="tunes").json()["outcome"] == "unchanged"


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["id"], "fields": []},
        {"folder": "/"},
        {"environment": {"PATH": "/evil"}},
        {"signature": ""},
        {"signature": "é" * 64},
        {"url": "http://evil.example"},
    ],
)
def test_without_a_valid_signature_none_is_added_or_changed(
    change: dict[str, Any], add: Any, client: TestClient, settings: Settings, runs: Runs
) -> None:
    body = signed(settings) | change
    for known in (False, True):
        if known:
            add()
        before = runs.sql("SELECT * FROM program")
        answer = client.put("/api/v1/programs/tune", params={"replace": True}, json=body)
        assert answer.status_code == 403
        assert "only `runyard program add` on the server's machine can do this" in answer.json()["detail"]
        assert runs.sql("SELECT * FROM program") == before


def test_no_page_of_a_browser_adds_or_removes_one(client: TestClient, add: Any, settings: Settings, runs: Runs) -> None:
    body = signed(settings)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}):
        assert client.put("/api/v1/programs/tune", json=body, headers=headers).status_code in (403, 421)
    assert runs.sql("SELECT count(*) FROM program") == [(0,)]
    add()
    # A browser on the right page has no key either.
    headers = {"origin": "http://127.0.0.1", "host": "127.0.0.1", "sec-fetch-site": "same-origin"}
    for method, path in (("PUT", "/api/v1/programs/other"), ("DELETE", "/api/v1/programs/tune")):
        sent = body | {"name": "other", "signature": ""} if method == "PUT" else None
        assert client.request(method, path, json=sent, headers=headers).status_code == 403
    assert client.post("/programs", json=body, headers=headers).status_code == 405
    assert runs.sql("SELECT name FROM program") == [("tune",)]


def test_another_program_of_the_name_is_replaced_only_on_request(add: Any, client: TestClient) -> None:
    add()
    refused = add(about="better")
    assert refused.status_code == 409
    assert "replace it with `runyard program add --replace`" in refused.json()["detail"]
    assert client.get("/api/v1/programs/tune").json()["about"] == ""
    replaced = add(replace=True, about="better").json()
    assert (replaced["outcome"], replaced["about"]) == ("replaced", "better")


def test_what_a_program_leaves_to_others_is_checked_even_if_it_is_signed(add: Any) -> None:
    answer = add(command=["bash", "-c", "{x}"], fields=[{"name": "x", "type": "text"}])
    assert (answer.status_code, list(errors_of(answer))) == (422, ["command"])


def test_the_address_names_the_program(client: TestClient, settings: Settings) -> None:
    answer = client.put("/api/v1/programs/other", json=signed(settings))
    assert (answer.status_code, errors_of(answer)) == (422, {"name": "name must be 'other', as in the address"})


def test_only_its_owner_removes_one_and_its_runs_stay(
    client: TestClient, add: Any, launch: Any, settings: Settings
) -> None:
    (run,) = launch()
    changed = client.get("/api/v1/programs/tune").json()["changed"]
    proof = sign_removal(read_key(ensure_key(settings.data_dir)), "tune", changed)
    for wrong in ("", "0" * 64, "é"):
        assert client.delete("/api/v1/programs/tune", params={"signature": wrong}).status_code == 403
    assert client.delete("/api/v1/programs/tune", params={"signature": proof}).status_code == 204
    gone = client.delete("/api/v1/programs/tune", params={"signature": proof})
    assert (gone.status_code, "runyard program add FILE.toml" in gone.json()["detail"]) == (404, True)
    assert client.get(f"/api/v1/runs/{run['id']}").json()["command"]["program"] == "tune"
    # The proof is of no use for a program that is added later.
    add()
    assert client.delete("/api/v1/programs/tune", params={"signature": proof}).status_code == 403


def test_an_unknown_program_is_told_with_those_that_exist(client: TestClient, add: Any) -> None:
    add()
    answer = client.get("/api/v1/programs/tun")
    assert (answer.status_code, answer.json()["detail"]) == (404, "no program 'tun'; programs: tune")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("replace(content, '/jobs', '/')", "is not signed with the key in the data folder of this server"),
        ("'{}'", "cannot be read"),
    ],
)
def test_a_forged_row_starts_nothing_and_says_what_to_do(
    change: str, sentence: str, client: TestClient, add: Any, runs: Runs
) -> None:
    add()
    with writing(runs.engine) as connection:
        connection.execute(text(f"UPDATE program SET content = {change}"))
    assert sentence in client.get("/api/v1/programs").json()["programs"][0]["trouble"]
    answer = client.post("/api/v1/programs/tune/runs", json={})
    assert (answer.status_code, "runyard program rm tune" in answer.json()["detail"]) == (409, True)
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


# Launching -----------------------------------------------------------------------------------------------------------


def test_a_run_has_the_values_in_its_command_its_title_and_its_parameters(launch: Any, runs: Runs) -> None:
    values = {"lr": 0.01, "epochs": "3", "optimizer": "sgd", "augment": True, "note": "; touch x $(id)"}
    (made,) = launch(values=values, tags=["paper"], priority=2, notes="why")
    assert made["command"]["argv"] == [
        "/venv/bin/python",
        "train.py",
        "--lr=0.01",
        "--epochs",
        "3",
        "--optimizer=sgd",
        "--augment",
        "--note=; touch x $(id)",
        "/jobs/data/train.csv",
        "--seed=0",
    ]
    assert made["title"] == "tune · lr 0.01, epochs 3, optimizer sgd, augment true, note ; touch x $(id)"
    assert (made["status"], made["tags"], made["notes"], made["origin"]) == ("queued", ["paper"], "why", "command")
    assert made["command"]["program"] == "tune"
    assert made["parameters"] == made["command"]["values"]
    assert made["parameters"]["lr"] == "0.01"
    assert made["parameters"]["augment"] == "true"
    found = runs.get(made["id"])
    assert (found.lr, found.epochs, found.seed, found.family, found.priority) == (0.01, 3, 0, "tune", 2)


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"lr": 7}, {"lr": "lr must be at most 1, not 7.0"}),
        (
            {"lrr": 1, "epochs": "x"},
            {
                "lrr": "program 'tune' has no field 'lrr'; fields: lr, epochs, optimizer, augment, note, data, seed",
                "epochs": "epochs must be a whole number, not 'x'",
            },
        ),
        ({"data": "../../etc/passwd"}, None),
        ({"note": "a\nb"}, None),
        ({"lr": [1]}, None),
    ],
)
def test_wrong_values_are_refused_beside_their_fields(
    values: dict[str, Any], errors: dict[str, str] | None, launch: Any, client: TestClient, runs: Runs
) -> None:
    answer = client.post("/api/v1/programs/tune/runs", json={"values": values})
    assert answer.status_code == 422
    if errors is not None:
        assert errors_of(answer) == errors
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_seeds_launch_consecutive_values_of_the_field_seed(launch: Any, add: Any, client: TestClient) -> None:
    runs = launch(values={"seed": 5}, seeds=3)
    assert [run["parameters"]["seed"] for run in runs] == ["5", "6", "7"]
    launch(values={"seed": 5, "lr": 0.5})
    groups = client.get("/api/v1/groups", params={"by": "variant"}).json()["groups"]
    assert sorted(len(group["runs"]) for group in groups) == [1, 3]
    fields = [{"name": "seed", "type": "int", "default": 8, "max": 9}]
    add(name="bounded", command=["train", "{seed}"], fields=fields)
    answer = client.post("/api/v1/programs/bounded/runs", json={"seeds": 3})
    assert errors_of(answer) == {"seeds": "3 seeds beginning at 8 are too many: seed must be at most 9, not 10"}
    add(name="seedless", command=["train"], fields=[])
    answer = client.post("/api/v1/programs/seedless/runs", json={"seeds": 2})
    assert errors_of(answer) == {"seeds": "seeds must be 1: program 'seedless' has no field 'seed' for whole numbers"}


def test_the_same_key_of_a_request_gives_the_same_runs(launch: Any, client: TestClient) -> None:
    first = [run["id"] for run in launch("once", seeds=2)]
    assert [run["id"] for run in launch("once", seeds=2)] == first
    for other in ({"seeds": 3}, {"seeds": 2, "values": {"lr": 0.5}}):
        headers = {"idempotency-key": "once"}
        assert client.post("/api/v1/programs/tune/runs", json=other, headers=headers).status_code == 409


def test_the_experiment_is_that_of_the_program(add: Any, client: TestClient) -> None:
    add(name="scans", experiment="X-rays")
    made = client.post("/api/v1/programs/scans/runs", json={}).json()["runs"][0]
    info = client.get(f"{MLFLOW}/get", params={"run_id": made["id"]}).json()["run"]["info"]
    client.post("/api/2.0/mlflow/experiments/delete", json={"experiment_id": info["experiment_id"]})
    answer = client.post("/api/v1/programs/scans/runs", json={})
    assert (answer.status_code, "experiment 'X-rays' is in the trash" in answer.json()["detail"]) == (409, True)


def test_the_worker_gets_the_signed_program_with_the_values(launch: Any, worker: Worker, recorder: Recorder) -> None:
    launch(values={"lr": 0.5})
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert isinstance(grant.command, ProgramCall)
    assert (grant.command.values["lr"], grant.command.program.name) == (0.5, "tune")


# What its script logs, and runs after it -----------------------------------------------------------------------------


def log_parameters(client: TestClient, run: str, **given: str) -> int:
    parameters = [{"key": name, "value": value} for name, value in given.items()]
    return client.post(f"{MLFLOW}/log-batch", json={"run_id": run, "params": parameters}).status_code


def test_what_the_script_logs_replaces_the_value_that_was_chosen_and_then_stays(
    launch: Any, worker: Worker, recorder: Recorder, client: TestClient, runs: Runs
) -> None:
    (made,) = launch(values={"lr": 0.5, "augment": True})
    run = made["id"]
    start(worker, recorder)
    assert log_parameters(client, run, lr="5e-1", augment="True", depth="3") == 200
    found = client.get(f"/api/v1/runs/{run}").json()
    assert found["parameters"] | {"lr": "5e-1", "augment": "True", "depth": "3"} == found["parameters"]
    assert (found["command"]["values"]["lr"], runs.get(run).lr) == ("0.5", 0.5)
    assert log_parameters(client, run, lr="5e-1") == 200
    assert log_parameters(client, run, lr="0.4") == 400
    assert log_parameters(client, run, depth="4") == 400


@pytest.mark.both_databases
def test_runs_of_a_program_are_found_by_it_and_by_their_values(launch: Any, client: TestClient) -> None:
    (slow,) = launch(values={"lr": 0.001, "optimizer": "sgd"})
    (fast,) = launch(values={"lr": 0.1, "optimizer": "adamw"})

    def found(query: str) -> set[str]:
        return {run["id"] for run in client.get("/api/v1/runs", params={"q": query}).json()["runs"]}

    assert found("program:tune") == {slow["id"], fast["id"]}
    assert found("-program:tune") == found("program:other") == set()
    assert found("param.lr>0.01") == found("param.optimizer:adamw") == {fast["id"]}
    assert found("param.lr:0.001,0.1 param.optimizer!=adamw") == found("lr<0.01") == {slow["id"]}
    assert found("param.depth>3") == set()
    table = client.get("/api/v1/runs.csv").text.splitlines()
    assert "param.optimizer" in table[0].split(",")


def end(trainer: Trainer, recorder: Recorder) -> None:
    trainer.say("result", Result(outcome="failed", reason="exited with status 1", exit_status=1))
    recorder.step()


def test_a_retry_repeats_the_values_even_after_the_program_was_replaced(
    launch: Any, add: Any, worker: Worker, recorder: Recorder, client: TestClient
) -> None:
    (made,) = launch(values={"lr": 0.5})
    end(start(worker, recorder), recorder)
    add(replace=True, command=["other", "{lr}"], fields=FIELDS[:1])
    again = client.post(f"/api/v1/runs/{made['id']}/retry").json()
    assert again["command"] == made["command"]
    assert (again["title"], again["parameters"]) == (made["title"], made["parameters"])


def test_a_clone_with_other_values_launches_the_program_as_it_is_now(launch: Any, add: Any, client: TestClient) -> None:
    (made,) = launch(values={"lr": 0.5, "epochs": 3}, tags=["a"], name="mine")
    add(replace=True, command=["other", "{lr}", "{epochs}"], fields=FIELDS[:2])
    answer = client.post(f"/api/v1/runs/{made['id']}/clone", json={"values": {"lr": None}, "notes": "again"})
    assert answer.status_code == 201, answer.text
    clone = answer.json()
    assert (clone["command"]["argv"], clone["relation"]) == (["other", "0.001", "3"], "clone")
    assert (clone["parent"], clone["tags"], clone["title"], clone["notes"]) == (made["id"], ["a"], "mine", "again")
    for wrong, field in (
        ({"values": {"lr": 2}}, "lr"),
        ({"values": 3}, "values"),
        ({"values": {}, "worker": "x"}, "worker"),
    ):
        refused = client.post(f"/api/v1/runs/{made['id']}/clone", json=wrong)
        assert (refused.status_code, list(errors_of(refused))) == (422, [field])
    same = client.post(f"/api/v1/runs/{made['id']}/clone", json={"name": "same"}).json()
    assert same["command"] == made["command"]


def test_a_source_must_be_a_run_of_the_program(launch: Any, add: Any, client: TestClient) -> None:
    (made,) = launch()
    add(name="other")
    answer = client.post("/api/v1/programs/other/runs", json={"source": made["id"]})
    assert (answer.status_code, answer.json()["detail"]) == (404, "run #1 is no run of program 'other'")


def test_comparing_runs_of_a_program_tells_their_values_and_no_command_line(launch: Any, client: TestClient) -> None:
    runs = ",".join(launch(values={"lr": lr})[0]["id"] for lr in (0.1, 0.2))
    page = client.get(f"/compare?runs={runs}").text
    assert "train.py" not in page
    assert "0.2" in page
