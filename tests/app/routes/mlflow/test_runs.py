"""A run that a script logs: how it begins, what becomes of it, and what it never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from app.services.recorder import Recorder
from app.store.run import STATES
from tests.app.routes.conftest import Page
from tests.conftest import Clock, Runs
from tests.fake_worker import Worker

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script

NOW = 1_700_000_000_000


def test_a_run_begins_running_under_its_experiment(script: Script, runs: Runs) -> None:
    experiment = script.say("/experiments/create", name="scans")["experiment_id"]
    run = script.begin(experiment, "first", user_id="ada")
    info = script.get(run)["info"]
    assert info["status"] == "RUNNING"
    assert (info["experiment_id"], info["run_name"], info["user_id"]) == (experiment, "first", "ada")
    assert (info["start_time"], info["lifecycle_stage"]) == (NOW, "active")
    found = runs.get(run)
    assert (found.status, found.family, found.size, found.dataset) == ("running", "scans", "", "")
    assert (found.title, found.number, found.logged) == ("first", 1, True)


def test_a_run_without_a_name_is_called_as_its_experiment(script: Script) -> None:
    assert script.get(script.begin(name=""))["info"]["run_name"] == "Default"


@pytest.mark.parametrize(("theirs", "ours"), [("FINISHED", "succeeded"), ("FAILED", "failed"), ("KILLED", "cancelled")])
def test_a_run_ends_as_its_script_says_and_as_it_says_last(theirs: str, ours: str, script: Script, runs: Runs) -> None:
    run = script.begin()
    script.end(run, theirs)
    found = runs.get(run)
    assert (found.status, found.ended_at) == (ours, NOW / 1000 + 60)
    assert script.get(run)["info"]["status"] == theirs
    # A script that continues it, and ends it again.
    script.say("/runs/update", run_id=run, status="RUNNING")
    assert runs.status(run) == ours
    again, outcome = ("FAILED", "failed") if theirs != "FAILED" else ("FINISHED", "succeeded")
    script.say("/runs/update", run_id=run, status=again, end_time=NOW + 90_000)
    found = runs.get(run)
    assert (found.status, found.ended_at, found.reason) == (outcome, NOW / 1000 + 90, "")


def test_a_run_that_its_script_ended_takes_what_the_script_adds(script: Script, runs: Runs) -> None:
    # As a trainer does that is fitted first and tested afterwards with the same logger.
    run = script.begin()
    script.end(run)
    script.log(run, test__acc=[0.9])
    script.say("/runs/log-parameter", run_id=run, key="best_epoch", value="7")
    assert runs.status(run) == "succeeded"
    assert [each["key"] for each in script.get(run)["data"]["metrics"]] == ["test/acc"]


def test_a_run_of_which_nothing_is_heard_has_failed_and_takes_nothing_more(
    script: Script, runs: Runs, recorder: Recorder, clock: Clock
) -> None:
    run = script.begin()
    script.log(run, loss=[1.0])
    clock.now += 23 * 3600
    recorder.housekeeper.reconcile()
    assert runs.status(run) == "running"
    clock.now += 2 * 3600
    recorder.housekeeper.reconcile()
    found = runs.get(run)
    assert found.status == "failed"
    assert found.reason == "no update from its script for 25 h"
    code, sentence = script.refused("/runs/log-metric", run_id=run, key="loss", value=2.0)
    assert code == "INVALID_STATE"
    assert "no update from its script" in sentence
    assert runs.status(run) == "failed"


def test_what_a_script_says_puts_its_deadline_off(script: Script, runs: Runs, recorder: Recorder) -> None:
    run = script.begin()
    runs.set(run, deadline=5.0)
    script.log(run, loss=[1.0])
    recorder.housekeeper.reconcile()
    assert runs.status(run) == "running"


def test_stop_ends_a_logged_run_at_once_and_refuses_what_its_script_says_then(
    script: Script, client: TestClient, runs: Runs
) -> None:
    run, other = script.begin(), script.begin()
    client.post(f"/api/v1/runs/{run}/cancel")
    client.post("/api/v1/runs/cancel", json={"runs": [other]})
    for stopped in (run, other):
        assert runs.status(stopped) == "cancelled"
        code, sentence = script.refused("/runs/log-metric", run_id=stopped, key="loss", value=1.0)
        assert code == "INVALID_STATE"
        assert "cancelled in Runyard" in sentence


def test_no_worker_is_given_a_logged_run_and_no_lease_of_it_runs_out(
    script: Script, runs: Runs, recorder: Recorder, worker: Worker, clock: Clock
) -> None:
    run = script.begin()
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert not grant.run
    clock.now += 3600
    recorder.housekeeper.reconcile()
    assert runs.status(run) == "running"


@pytest.mark.parametrize("act", ["retry", "resume", "verify", "clone", "fork"])
def test_a_logged_run_cannot_be_trained_here(act: str, script: Script, client: TestClient) -> None:
    run = script.begin()
    script.end(run)
    body = {"fork": {"epoch": 1}, "clone": {}}.get(act)
    answer = client.post(f"/api/v1/runs/{run}/{act}", json=body)
    assert answer.status_code == 409
    assert "external script" in answer.json()["detail"]


def test_a_deleted_run_lies_in_the_trash_of_both(script: Script, client: TestClient) -> None:
    run = script.begin()
    script.say("/runs/delete", run_id=run)
    assert script.get(run)["info"]["lifecycle_stage"] == "deleted"
    assert client.get(f"/api/v1/runs/{run}").status_code == 404
    assert "trash" in script.refused("/runs/set-tag", run_id=run, key="a", value="b")[1]
    script.say("/runs/restore", run_id=run)
    assert client.get(f"/api/v1/runs/{run}").json()["status"] == "cancelled"


def test_the_api_makes_no_settings_up(script: Script, client: TestClient) -> None:
    run = script.begin(name="mine")
    script.say("/runs/log-parameter", run_id=run, key="optimizer", value="lion")
    said = client.get(f"/api/v1/runs/{run}").json()
    assert said["spec"] is None
    assert (said["origin"], said["parameters"], said["title"]) == ("mlflow", {"optimizer": "lion"}, "mine")
    assert client.get("/api/v1/runs").json()["runs"][0]["spec"] is None
    assert client.get("/api/v1/runs", params={"q": "optimizer:adam"}).json()["total"] == 0


@pytest.mark.parametrize("status", ["running", "succeeded", "failed", "cancelled"])
def test_every_page_shows_a_logged_run_with_its_own_parameters_alone(
    status: str, script: Script, client: TestClient, runs: Runs
) -> None:
    run = script.begin(name="night shift")
    assert status in STATES
    script.say("/runs/log-parameter", run_id=run, key="patience", value="12")
    script.log(run, val__acc=[0.5, 0.9], loss=["Infinity" if status == "failed" else 2.0, 1.0])
    other = script.begin(name="day shift")
    script.log(other, val__acc=[0.4])
    if status != "running":
        script.end(run, {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}[status])
    page = client.get(f"/runs/{run}")
    assert page.status_code == 200
    assert "patience" in page.text
    assert "night shift" in page.text
    for made_up in ("plateau", "weight decay", "label smoothing", "recipe defaults", "act-clone", "act-retry"):
        assert made_up not in page.text, made_up
    assert Page(page.text).all("div", id="run-logged")
    for path in (
        "/",
        "/runs",
        f"/runs/{run}/head",
        "/runs?sort=lr&columns=lr,epochs,optimizer,option.patience",
        "/runs?group=option.patience",
        f"/compare?runs={run},{other}",
        f"/compare?runs={run},{other}&by=patience",
        f"/runs/{run}?with={other}&with=best&with=earlier",
        f"/api/v1/compare?runs={run},{other}",
        "/queue",
        "/architectures",
        "/leaderboard",
        "/api/v1/leaderboard",
        "/api/v1/groups?by=family",
        "/api/v1/runs.csv",
        f"/compare/report?runs={run},{other}",
        f"/runs/{run}/control",
        f"/runs/{run}/environment",
        f"/runs/{run}/forecast",
        f"/runs/{run}/points",
        f"/api/v1/runs/{run}/changes",
    ):
        answer = client.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text[:500]}"
    compared = client.get(f"/compare?runs={run},{other}").text
    assert "patience" in compared
    assert "momentum" not in compared


def test_a_form_cannot_be_filled_in_from_a_logged_run(script: Script, client: TestClient) -> None:
    run = script.begin()
    answer = client.get(f"/launch?from={run}", follow_redirects=True)
    assert answer.status_code == 409
    assert "external script" in answer.text
