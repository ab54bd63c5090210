"""The pages of programs: what can be launched, what the form says beside each field, and where a launch leads."""

from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from app.contract.settings import Settings
from app.store.database import writing
from tests.app.routes.launch.sent import command_of
from tests.conftest import Runs
from tests.signed_program import signed

REQUIRED: list[dict[str, Any]] = [
    {"name": "data", "type": "path", "help": "training images", "within": "/data"},
    {"name": "how", "type": "choice", "choices": ["fast", "slow"]},
]


@pytest.fixture
def add(client: TestClient, settings: Settings) -> Any:
    """Add a program."""

    def put(**changes: Any) -> None:
        body = signed(settings, **changes)
        address = f"/api/v1/programs/{body['name']}"
        assert client.put(address, params={"replace": True}, json=body).status_code == 200

    put()
    return put


def test_without_programs_the_page_says_how_to_add_one(client: TestClient, look: Any) -> None:
    page = look(client.get("/programs"))
    assert "No programs yet" in page.words["none-title"]
    assert "runyard program add tune.toml" in page.html
    assert "no browser can" in page.html
    assert page.all("form", action="/programs") == []


def test_the_page_lists_programs_with_their_fields(client: TestClient, look: Any, add: Any) -> None:
    add(name="scans", about="Tunes <b>scans</b>", command=["train"], fields=[])
    page = look(client.get("/programs"))
    assert "Fields: lr, epochs, optimizer, augment, note, data, seed" in page.html
    assert "Tunes &lt;b&gt;scans&lt;/b&gt;" in page.html
    assert {found["href"] for found in page.all("a")} >= {"/programs/tune", "/programs/scans"}


def test_the_form_has_a_field_for_each_value_with_its_default(client: TestClient, look: Any, add: Any) -> None:
    page = look(client.get("/programs/tune"))
    assert page.one("input", name="v-lr")["placeholder"] == "0.001"
    assert page.one("input", name="v-data")["placeholder"] == "data/train.csv"
    assert [each["value"] for each in page.all("option")][:4] == ["", "sgd", "", "true"]
    assert page.words["hint-v-lr"] == "peak learning rate; 0 to 1"
    assert page.words["hint-v-epochs"] == "at least 1"
    assert page.words["hint-v-data"] == "a path within /jobs"
    assert page.words["launch-changes"] == "The program's defaults, unchanged"
    assert page.one("input", name="seeds")["placeholder"] == "1"
    assert page.words["filled-command"].startswith("/venv/bin/python train.py --lr=0.001 --epochs 10 --optimizer=adamw")
    add(name="seedless", command=["train", "{data}", "{how}"], fields=REQUIRED)
    page = look(client.get("/programs/seedless"))
    assert page.all("input", name="seeds") == []
    assert page.one("input", name="v-data")["placeholder"] == "required"
    assert page.words["error-v-data"] == ""
    assert page.words["hint-v-data"] == "training images; a path within /data"


def test_changed_values_are_marked_and_can_be_reset(client: TestClient, look: Any, add: Any) -> None:
    page = look(client.get("/programs/tune?v-lr=0.01&v-augment=true&v-epochs=10&seeds=3"))
    assert page.words["mark-v-lr"].startswith("changed from 0.001 · reset")
    assert page.words["mark-v-augment"].startswith("changed from no")
    assert page.words["mark-v-epochs"] == ""
    assert page.words["launch-changes"].startswith("3 fields changed from the program's defaults")
    assert page.one("a", data_back="v-lr")["href"] == "/programs/tune?v-augment=true&v-epochs=10&seeds=3"
    assert page.words["launch-button"] == "Launch 3 runs"


def test_errors_stand_beside_their_fields_and_nothing_typed_is_lost(
    client: TestClient, look: Any, add: Any, runs: Runs
) -> None:
    form = {"v-lr": "fast", "v-optimizer": "adam", "v-note": "kept <b>", "seeds": "0", "priority": "x", "device": "gpu"}
    page = look(client.post("/programs/tune", data=form), 422)
    assert page.words["error-v-lr"] == "Lr must be a number, not 'fast'."
    assert page.words["error-v-optimizer"] == "Optimizer must be one of sgd, adamw, not 'adam'."
    assert page.words["error-seeds"] == "Seeds must be at least 1."
    assert page.words["error-priority"] == "Priority must be a whole number."
    assert page.words["error-device"].startswith("Device must be auto, cpu, cuda")
    assert page.one("input", name="v-note")["value"] == "kept <b>"
    assert page.one("input", name="v-lr")["aria-invalid"] == "true"
    assert page.words["mark-v-lr"].startswith("changed from 0.001")
    assert page.words["filled-command"] == "The command appears once the form is valid."
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]
    add(name="needy", command=["train", "{data}", "{how}"], fields=REQUIRED)
    page = look(client.post("/programs/needy", data={}), 422)
    assert page.words["error-v-data"] == "Data is required."
    assert page.words["error-v-how"] == "How is required; choices: fast, slow."


def test_what_is_typed_is_checked_at_once(client: TestClient, add: Any) -> None:
    answer = client.post("/programs/tune/check", data={"v-lr": "2", "v-epochs": "3"})
    assert "Lr must be at most 1, not 2.0." in answer.text
    assert answer.headers["hx-replace-url"] == "/programs/tune?v-lr=2&v-epochs=3"
    answer = client.post("/programs/tune/check", data={"v-lr": "0.5", "v-note": "--config=/etc/passwd"})
    assert "--note=--config=/etc/passwd" in answer.text
    assert "must" not in answer.text


def test_a_posted_form_launches_once(client: TestClient, look: Any, add: Any, runs: Runs) -> None:
    key = look(client.get("/programs/tune")).one("input", name="key")["value"]
    form = {"key": key, "v-lr": "0.5", "v-augment": "true", "v-epochs": "", "tags": "a, b", "notes": "one\r\ntwo"}
    answer = client.post("/programs/tune", data=form, follow_redirects=False)
    assert answer.status_code == 303
    run = runs.get(answer.headers["location"].removeprefix("/runs/"))
    assert (run.title, run.tags, run.notes) == ("tune · lr 0.5, augment true", ["a", "b"], "one\ntwo")
    again = client.post("/programs/tune", data=form, follow_redirects=False)
    assert again.headers["location"] == answer.headers["location"]
    other = client.post("/programs/tune", data=form | {"v-lr": "0.4"}, follow_redirects=False)
    assert other.headers["location"] != answer.headers["location"]


def test_several_seeds_lead_to_the_runs_of_the_program(client: TestClient, look: Any, add: Any, runs: Runs) -> None:
    answer = client.post("/programs/tune", data={"seeds": "3", "v-seed": "4"}, follow_redirects=False)
    assert answer.headers["location"] == "/runs?q=program:tune"
    assert runs.sql("SELECT seed FROM run ORDER BY seed") == [(4,), (5,), (6,)]
    assert "tune · seed 5" in client.get("/runs?q=program:tune").text


def test_the_commands_launch_the_same_runs_as_the_form(client: TestClient, look: Any, add: Any, runs: Runs) -> None:
    query = {"v-lr": "0.5", "v-note": "it's $HOME `x`; id", "v-augment": "true", "seeds": "2", "tags": "a, b"}
    page = look(client.get("/programs/tune", params=query))
    address, body = command_of(page)
    assert address == "http://127.0.0.1:8000/api/v1/programs/tune/runs"
    assert body == {
        "values": {"lr": 0.5, "note": "it's $HOME `x`; id", "augment": True},
        "seeds": 2,
        "tags": ["a", "b"],
    }
    assert shlex.split(page.words["command-runyard"]) == [
        *("runyard", "program", "launch", "tune", "lr=0.5", "augment=true", "note=it's $HOME `x`; id"),
        *("--tags", "a,b", "--seeds", "2"),
    ]
    call = ast.parse(page.words["command-python"]).body[-1]
    assert "launch_program('tune', values={'lr': 0.5" in ast.unparse(call)
    assert len(client.post(address, json=body).json()["runs"]) == 2


def test_a_run_leads_to_the_form_with_its_values(client: TestClient, look: Any, add: Any) -> None:
    body = {"values": {"lr": 0.5, "note": "mine"}, "tags": ["a"], "name": "first"}
    run = client.post("/api/v1/programs/tune/runs", json=body).json()["runs"][0]
    page = look(client.get(f"/runs/{run['id']}"))
    assert page.one("a", id="act-clone")["href"] == f"/programs/tune?from={run['id']}"
    assert "/venv/bin/python train.py --lr=0.5" in page.words["command-line"]
    assert page.html.count("<dt>optimizer</dt><dd>adamw</dd>") == 1
    assert "as chosen at launch and logged by the script" in page.html
    page = look(client.get(f"/programs/tune?from={run['id']}&v-epochs=20"))
    assert page.one("input", name="v-lr")["value"] == "0.5"
    assert page.one("input", name="v-note")["value"] == "mine"
    assert page.one("input", name="name")["value"] == "first"
    assert page.one("input", name="source")["value"] == run["id"]
    assert "epochs</a> 10 → <b>20</b>" in page.html
    form = {"source": run["id"], "v-lr": "0.25", "name": "second"}
    made = client.post("/programs/tune", data=form, follow_redirects=False).headers["location"].removeprefix("/runs/")
    found = client.get(f"/api/v1/runs/{made}").json()
    assert (found["parent"], found["relation"], found["parameters"]["lr"]) == (run["id"], "clone", "0.25")


def test_what_looks_like_a_password_is_neither_shown_nor_filled_in(client: TestClient, look: Any, add: Any) -> None:
    fields = [{"name": "api_token", "type": "text"}]
    add(name="secret", command=["train", "--api_token={api_token}"], fields=fields)
    run = client.post("/api/v1/programs/secret/runs", json={"values": {"api_token": "s3cret"}}).json()["runs"][0]
    for address in (f"/runs/{run['id']}", f"/programs/secret?from={run['id']}", f"/api/v1/runs/{run['id']}"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "s3cret" not in answer.text
    checked = client.post("/programs/secret/check", data={"v-api_token": "s3cret", "tags": "a"})
    assert checked.headers["hx-replace-url"] == "/programs/secret?tags=a"


def test_another_run_is_no_source(client: TestClient, add: Any) -> None:
    add(name="other")
    run = client.post("/api/v1/programs/other/runs", json={}).json()["runs"][0]
    assert client.get(f"/programs/tune?from={run['id']}").status_code == 404
    # A form that was filled in before its run was deleted still launches.
    assert client.post("/programs/tune", data={"source": "r_gone"}, follow_redirects=False).status_code == 303


def test_a_program_that_cannot_be_launched_says_why(client: TestClient, look: Any, add: Any, runs: Runs) -> None:
    with writing(runs.engine) as connection:
        connection.execute(text("UPDATE program SET content = replace(content, '/jobs', '/')"))
    page = look(client.get("/programs/tune"))
    assert "is not signed with the key in the data folder of this server" in page.html
    assert page.all("button", id="launch-button") == []
    listed = look(client.get("/programs"))
    assert "is not signed" in listed.html
    assert {"href": "/programs/tune"} not in [{"href": found["href"]} for found in listed.all("a")]
    assert client.post("/programs/tune", data={}).status_code == 409


def test_the_launch_page_leads_to_programs(client: TestClient, add: Any) -> None:
    answer = client.get("/launch?program=tune", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/programs/tune")
    assert client.get("/programs/nothing").status_code == 404


def test_fields_of_a_program_do_not_collide_with_those_of_the_run(client: TestClient, look: Any, add: Any) -> None:
    fields = [{"name": name, "type": "text", "default": ""} for name in ("name", "tags", "key", "source", "from")]
    add(name="odd", command=["train", *(f"--{each['name']}={{{each['name']}}}" for each in fields)], fields=fields)
    form = {"v-name": "x", "v-key": "y", "name": "mine"}
    look(client.get("/programs/odd", params=form))
    made = client.post("/programs/odd", data=form, follow_redirects=False).headers["location"].removeprefix("/runs/")
    found = client.get(f"/api/v1/runs/{made}").json()
    assert (found["title"], found["command"]["argv"][1:4]) == ("mine", ["--name=x", "--tags=", "--key=y"])
