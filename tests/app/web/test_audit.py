"""Every change by a person is in the audit log: who, what, to what and by which credential; nothing else is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from app.store.audit_event import list_events
from app.store.database import reading, writing
from app.web.access_table import ENTRIES
from app.web.dependencies import Parts
from tests.conftest import Runs
from tests.people import ADMINISTRATOR, NAMES, bearer, session


def events(parts: Parts, action: str = "") -> list[dict[str, Any]]:
    with reading(parts.engine) as connection:
        return list_events(connection, action=action)


def test_a_change_through_the_api_says_who_did_what_to_what(parts: Parts, client: TestClient, runs: Runs) -> None:
    run = runs.add()
    header = bearer(parts, NAMES["member"], "launch")
    assert client.post(f"/api/v1/runs/{run}/cancel", headers=header).status_code == 200
    (event,) = events(parts, "run.")
    assert {name: event[name] for name in ("who", "action", "target", "credential", "address")} == {
        "who": "grace",
        "action": "run.cancel",
        "target": run,
        "credential": "token launch",
        "address": "testclient",
    }


def test_a_launch_names_the_run_and_the_run_its_author(parts: Parts, client: TestClient, runs: Runs) -> None:
    header = bearer(parts, NAMES["member"])
    body = {"family": "vit", "size": "tiny", "dataset": "digits"}
    launched = client.post("/api/v1/runs", headers=header, json=body)
    assert launched.status_code == 201
    (event,) = events(parts, "run.launch")
    assert (event["target"], event["detail"]) == (launched.json()["id"], body)
    assert launched.json()["created_by"] == "grace"
    assert runs.get(launched.json()["id"]).created_by == "grace"


def test_a_form_for_many_runs_says_which(parts: Parts, client: TestClient, runs: Runs) -> None:
    ids = [runs.add(), runs.add()]
    client.cookies.update(session(parts, NAMES["member"]))
    answer = client.post("/runs/stop", data={"runs": ids, "back": "/runs"}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    (event,) = events(parts, "run.cancel")
    assert (event["credential"], event["detail"]) == ("session", {"runs": ids})


def test_a_relaunch_of_which_a_part_is_refused_is_in_the_log(parts: Parts, client: TestClient, runs: Runs) -> None:
    run, unusable = runs.add(family="simple_mlp"), runs.add(family="gone")
    client.cookies.update(session(parts, NAMES["member"]))
    answer = client.post("/runs/relaunch", data={"runs": [unusable]}, follow_redirects=False)
    assert answer.headers["location"] == "/runs?refused=1"
    assert events(parts, "run.launch") == []
    answer = client.post("/runs/relaunch", data={"runs": [run, unusable]}, follow_redirects=False)
    assert re.fullmatch(r"/runs\?act=\w+&refused=1", answer.headers["location"])
    (event,) = events(parts, "run.launch")
    assert event["detail"] == {"runs": [run, unusable]}


def test_what_is_refused_or_only_read_is_not_in_the_log(parts: Parts, client: TestClient) -> None:
    before = events(parts)
    header = bearer(parts, NAMES["member"])
    signed_in = len(events(parts)) - len(before)
    client.get("/api/v1/runs", headers=header)
    client.post("/api/v1/runs/nothing/cancel", headers=header)
    client.post("/api/v1/runs", headers=header, json={"family": "nothing"})
    client.post("/api/v1/runs", headers=bearer(parts, NAMES["viewer"]), json={"family": "vit"})
    assert len(events(parts)) == len(before) + signed_in + 1
    assert events(parts, "run.") == []


PART = {"key": "key-of-a-run", "experiment": "mine", "name": "first", "started": 1_700_000_000.0}


@pytest.mark.parametrize(
    ("path", "action", "more"),
    [("log", "run.log", {}), ("import", "run.import", {"ended": 1_700_000_009.0, "live": True})],
)
def test_a_run_that_is_sent_in_parts_is_in_the_log_once(
    parts: Parts, client: TestClient, path: str, action: str, more: dict[str, Any]
) -> None:
    header = bearer(parts, NAMES["member"], "log")
    for step in range(3):
        curves = {"loss": {"offset": step, "step": [step], "value": [0.5], "time": [1_700_000_000.0 + step]}}
        sent = client.post(f"/api/v1/{path}", headers=header, json=PART | more | {"curves": curves})
        assert sent.status_code == 200, sent.text
    (event,) = events(parts, action)
    assert (event["who"], event["target"], event["detail"]) == ("grace", sent.json()["id"], {"name": "first"})


OF_ITSELF = ("/files/", "/log/{}", "/log-", "/mlflow-artifacts/", "/runs/outputs", "/logged-models/{}/params")
"""Parts of paths by which a run logs points and files of itself: that it began is in the log."""
BY_ACTIONS = ("/account/", "/admin/", "/users", "/tokens/", "/worker-tokens", "/sign-out", "/welcome", "/retention")
"""Paths whose actions in app/actions write to the log themselves, with the change."""
NO_CHANGE = ("/launch/check", "/launch/fields", "/programs/{}/check", "/api/2.0/mlflow/**")
"""Paths that change nothing: forms as they are filled in, and what MLflow's clients may ask for in vain."""


def test_every_route_that_changes_something_has_an_action() -> None:
    without = [
        f"{entry.method} {entry.path}"
        for entry in ENTRIES
        if entry.method != "GET" and entry.need not in ("read", "open") and not entry.action
    ]
    known = (*OF_ITSELF, *BY_ACTIONS, *NO_CHANGE)
    assert [each for each in without if not any(part in each for part in known)] == []
    assert [part for part in known if not any(part in each for each in without)] == []


def test_secrets_are_not_in_the_log(parts: Parts, client: TestClient) -> None:
    header = bearer(parts, ADMINISTRATOR)
    body = {"url": "https://hooks.example.org/T0/secret-part", "secret": "very secret"}
    assert client.post("/api/v1/webhooks", headers=header, json=body).status_code == 201
    assert client.post("/api/v1/users", headers=header, json={"name": "x1", "password": "horse battery 5"}).is_success
    assert len(events(parts, "webhook.add")) == 1
    assert "secret" not in json.dumps(events(parts))
    assert "battery" not in json.dumps(events(parts))


def test_nobody_can_rewrite_the_log(parts: Parts) -> None:
    assert events(parts)
    for statement in ("UPDATE audit_event SET who = 'x'", "DELETE FROM audit_event"):
        with pytest.raises(DBAPIError, match="append-only"), writing(parts.engine) as connection:
            connection.execute(text(statement))


def test_while_nobody_signs_in_nothing_is_written(server: FastAPI, client: TestClient, runs: Runs) -> None:
    run = runs.add()
    assert client.post(f"/api/v1/runs/{run}/cancel").status_code == 200
    assert events(server.state.parts) == []
