"""Runs that execute a command: who may submit one, how it waits and ends, and what pages show of it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from app.contract.command import Command
from app.contract.command_key import ensure_key, read_key, sign
from app.contract.events import Ended, Result, Started
from app.contract.settings import Settings
from app.services.recorder import Recorder
from app.store import lease
from app.store.database import next_commit, writing
from tests.app.routes.conftest import Page
from tests.conftest import Clock, Runs, errors_of
from tests.fake_worker import Trainer, Worker

ARGV = ["/venv/bin/python", "train.py", "--lr", "0.1", "--token", "s3cret"]
MLFLOW = "/api/2.0/mlflow/runs"


def command(settings: Settings, **changes: Any) -> dict[str, Any]:
    """A command as `runyard exec` signs it."""
    fields = {"argv": ARGV, "folder": "/jobs", "environment": {"KEY": "v4lue"}, "url": "http://127.0.0.1:8000"}
    made = Command.model_validate(fields | changes)
    return made.model_dump() | {"signature": sign(read_key(ensure_key(settings.data_dir)), made)}


@pytest.fixture
def submit(client: TestClient, settings: Settings) -> Any:
    """Submit a command; gives the answer of the API."""

    def post(**fields: Any) -> Any:
        answer = client.post("/api/v1/commands", json={"command": command(settings)} | fields)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return post


def start(worker: Worker, recorder: Recorder) -> Trainer:
    """Claim the next run and report that its command is about to start."""
    reply = worker.ask()
    recorder.step()
    grant = worker.answer(reply)
    assert grant is not None
    assert (grant.config, grant.command is None) == (None, False)
    trainer = Trainer(worker.redis, grant.run, grant.fence)
    trainer.say("started", Started(step=0, epoch=0, params=None, environment={"host": "here"}, keeps=True))
    recorder.step()
    return trainer


# Who may submit one --------------------------------------------------------------------------------------------------


def test_a_signed_command_is_queued_without_its_secrets(submit: Any, runs: Runs) -> None:
    made = submit(name="tune", tags=["paper"], restarts=2, priority=3)
    assert (made["status"], made["title"], made["origin"], made["spec"]) == ("queued", "tune", "command", None)
    shown = [*ARGV[:-1], "…"]
    assert made["command"] == {
        "argv": shown,
        "folder": "/jobs",
        "variables": ["KEY"],
        "restarts": 2,
        "exit_status": None,
        "program": "",
        "values": {},
    }
    assert made["tags"] == ["paper"]
    assert runs.get(made["id"]).priority == 3
    assert submit()["title"] == "train.py --lr 0.1 --token …"


@pytest.mark.parametrize("change", [{"argv": ["id"]}, {"folder": "/"}, {"environment": {}}, {"signature": ""}])
def test_a_command_without_a_valid_signature_is_refused_and_changes_nothing(
    change: dict[str, Any], client: TestClient, settings: Settings, runs: Runs
) -> None:
    answer = client.post("/api/v1/commands", json={"command": command(settings) | change})
    assert answer.status_code == 403
    assert "only `runyard exec` can submit a command" in answer.json()["detail"]
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_no_page_of_a_browser_submits_a_command(client: TestClient, settings: Settings, runs: Runs) -> None:
    body = {"command": command(settings)}
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}):
        assert client.post("/api/v1/commands", json=body, headers=headers).status_code in (403, 421)
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_a_key_that_others_can_read_is_trusted_by_nobody(client: TestClient, settings: Settings) -> None:
    body = {"command": command(settings)}
    ensure_key(settings.data_dir).chmod(0o644)
    answer = client.post("/api/v1/commands", json=body)
    assert (answer.status_code, "chmod 600" in answer.json()["detail"]) == (403, True)


def test_the_api_tells_where_the_key_is_and_never_the_key(client: TestClient, settings: Settings) -> None:
    told = client.get("/api/v1/commands/key").json()
    assert told == {"file": str(ensure_key(settings.data_dir))}


def test_the_same_key_of_a_request_gives_the_same_run(client: TestClient, settings: Settings) -> None:
    def post(**changes: Any) -> Any:
        body = {"command": command(settings, **changes)}
        return client.post("/api/v1/commands", json=body, headers={"idempotency-key": "once"})

    assert post().json()["id"] == post().json()["id"]
    assert post(argv=["true"]).status_code == 409


def test_an_experiment_is_created_or_refused_if_it_is_in_the_trash(
    submit: Any, client: TestClient, settings: Settings
) -> None:
    run = submit(experiment="scans")["id"]
    info = client.get(f"{MLFLOW}/get", params={"run_id": run}).json()["run"]["info"]
    client.post("/api/2.0/mlflow/experiments/delete", json={"experiment_id": info["experiment_id"]})
    answer = client.post("/api/v1/commands", json={"command": command(settings), "experiment": "scans"})
    assert (answer.status_code, "in the trash" in answer.json()["detail"]) == (409, True)


# Its life ------------------------------------------------------------------------------------------------------------


def test_its_script_logs_to_it_and_its_exit_status_ends_it(
    submit: Any, client: TestClient, worker: Worker, recorder: Recorder, runs: Runs
) -> None:
    run = submit()["id"]
    trainer = start(worker, recorder)
    metric = {"key": "val/acc", "value": 0.5, "step": 7, "timestamp": 1}
    assert client.post(f"{MLFLOW}/log-batch", json={"run_id": run, "metrics": [metric]}).status_code == 200
    tags = {"run_id": run, "tags": [{"key": "mlflow.source.name", "value": "train.py"}]}
    assert client.post(f"{MLFLOW}/log-batch", json=tags).status_code == 200
    assert client.post(f"{MLFLOW}/update", json={"run_id": run, "status": "FINISHED"}).status_code == 200
    found = runs.get(run)
    assert (found.status, found.deadline, found.progress["step"]) == ("running", None, 7)
    assert found.environment == {"host": "here", "source.name": "train.py"}
    trainer.say("result", Result(outcome="failed", reason="exited with status 3", exit_status=3))
    recorder.step()
    answer = client.get(f"/api/v1/runs/{run}").json()
    assert (answer["status"], answer["reason"]) == ("failed", "exited with status 3")
    assert answer["command"]["exit_status"] == 3
    refused = client.post(f"{MLFLOW}/log-batch", json={"run_id": run, "metrics": [metric]})
    assert refused.json()["error_code"] == "INVALID_STATE"


def test_a_name_given_at_the_launch_outlives_that_of_the_script(submit: Any, client: TestClient, runs: Runs) -> None:
    named, unnamed = submit(name="tune")["id"], submit()["id"]
    for run in (named, unnamed):
        assert client.post(f"{MLFLOW}/update", json={"run_id": run, "run_name": "theirs"}).status_code == 200
    assert [runs.get(run).title for run in (named, unnamed)] == ["tune", "theirs"]


def test_a_running_command_is_stopped_by_its_worker(
    submit: Any, client: TestClient, worker: Worker, recorder: Recorder, runs: Runs
) -> None:
    run = submit()["id"]
    trainer = start(worker, recorder)
    client.post(f"{MLFLOW}/delete", json={"run_id": run})
    assert runs.get(run).deleted_at is None
    assert client.post(f"/api/v1/runs/{run}/cancel").json()["status"] == "cancelling"
    deadline = runs.get(run).deadline
    client.post(f"{MLFLOW}/log-parameter", json={"run_id": run, "key": "a", "value": "1"})
    assert runs.get(run).deadline == deadline
    trainer.say("result", Result(outcome="cancelled", reason="stopped; exited with status 0", exit_status=0))
    recorder.step()
    assert runs.status(run) == "cancelled"


def test_all_queued_commands_are_cancelled_and_restored(submit: Any, client: TestClient, runs: Runs) -> None:
    run = submit(name="tune", tags=["paper"], restarts=1)["id"]
    assert client.post("/api/v1/runs/cancel", json={"queued": True}).json()["cancelled"] == [run]
    assert runs.get(run).reason == "cancelled while queued"
    (pair,) = client.post("/api/v1/runs/restore-queued", json={"runs": [run]}).json()["runs"]
    made = client.get(f"/api/v1/runs/{pair['id']}").json()
    assert (made["status"], made["title"], made["tags"]) == ("queued", "tune", ["paper"])
    assert made["command"]["restarts"] == 1


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("end", ["killed", "interrupted", "silent"])
def test_a_lost_command_starts_again_only_as_often_as_allowed(
    end: str, restarts: int, submit: Any, worker: Worker, recorder: Recorder, runs: Runs, clock: Clock
) -> None:
    run = submit(restarts=restarts)["id"]
    for attempt in range(1, restarts + 2):
        trainer = start(worker, recorder)
        assert runs.get(run).attempt == attempt
        if end == "silent":
            clock.now += recorder.settings.lease_seconds + 1
            with writing(runs.engine) as connection:
                lease.expire_leases(connection, next_commit(connection), clock.now)
        else:
            worker.send("ended", Ended(run=run, fence=trainer.fence, outcome=end, reason="gone"))
            recorder.step()
        assert runs.status(run) == "lost"
        clock.now += 5
        with writing(runs.engine) as connection:
            lease.settle_lost(connection, next_commit(connection), clock.now, 3)
        found = runs.get(run)
        if attempt <= restarts:
            assert (found.status, "restart 1 of 1" in found.reason) == ("queued", True)
        else:
            assert (found.status, "not started again" in found.reason) == ("failed", True)


def test_points_of_an_earlier_attempt_stay(
    submit: Any, client: TestClient, worker: Worker, recorder: Recorder, runs: Runs, clock: Clock
) -> None:
    run = submit(restarts=1)["id"]
    trainer = start(worker, recorder)
    points = [{"key": "test/acc", "value": 0.5, "step": step, "timestamp": step} for step in range(3)]
    client.post(f"{MLFLOW}/log-batch", json={"run_id": run, "metrics": points})
    worker.send("ended", Ended(run=run, fence=trainer.fence, outcome="killed", reason="gone"))
    recorder.step()
    clock.now += 5
    with writing(runs.engine) as connection:
        lease.settle_lost(connection, next_commit(connection), clock.now, 3)
    start(worker, recorder)
    assert client.get(f"/api/v1/runs/{run}").json()["summary"]["test/acc"]["points"] == 3
    assert runs.sql("SELECT step, text FROM run_mark") == [(2, "attempt 2")]


def test_a_run_follows_the_experiment_that_its_script_sets_until_it_logs(submit: Any, client: TestClient) -> None:
    run = submit()["id"]
    ids = [
        client.post("/api/2.0/mlflow/experiments/create", json={"name": name}).json()["experiment_id"]
        for name in ("scans", "others")
    ]

    def ask(prefix: str, name: str) -> str:
        address = f"{prefix}/api/2.0/mlflow/experiments/get-by-name"
        assert client.get(address, params={"experiment_name": name}).status_code == 200
        info = client.get(f"{MLFLOW}/get", params={"run_id": run}).json()["run"]["info"]
        return str(info["experiment_id"])

    assert ask("", "scans") == "0"
    assert ask(f"/runs/{run}", "scans") == ids[0]
    assert [each["id"] for each in client.get("/api/v1/runs?family=scans").json()["runs"]] == [run]
    client.post(f"{MLFLOW}/log-parameter", json={"run_id": run, "key": "a", "value": "1"})
    assert ask(f"/runs/{run}", "others") == ids[0]


def test_the_first_run_that_a_script_starts_is_its_own(submit: Any, client: TestClient, runs: Runs) -> None:
    run = submit()["id"]

    def begin(prefix: str, **tags: str) -> str:
        pairs = [{"key": key.replace("__", "."), "value": value} for key, value in tags.items()]
        body = {"experiment_id": "0", "run_name": "theirs", "start_time": 1, "tags": pairs}
        answer = client.post(f"{prefix}/api/2.0/mlflow/runs/create", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run"]["info"]["run_id"])

    assert begin("") != run
    assert begin(f"/runs/{run}", mlflow__parentRunId="r_2") != run
    assert begin(f"/runs/{run}", paper="yes") == run
    assert (runs.get(run).title, runs.get(run).tags) == ("theirs", ["paper=yes"])
    assert begin(f"/runs/{run}") != run


def test_a_model_that_a_command_logs_outside_of_a_run_belongs_to_its_run(submit: Any, client: TestClient) -> None:
    run = submit()["id"]
    title = client.get(f"/api/v1/runs/{run}").json()["title"]
    models = f"/runs/{run}/api/2.0/mlflow/logged-models"
    made = client.post(models, json={"experiment_id": "0", "name": "net"}).json()["model"]["info"]
    assert made["source_run_id"] == run
    finished = client.patch(f"{models}/{made['model_id']}", json={"status": 2})
    assert finished.json()["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    shown = client.get(f"/api/v1/runs/{run}").json()
    assert (shown["status"], shown["title"]) == ("queued", title)


def test_the_address_that_a_script_logs_to_leads_to_the_page_of_its_run(submit: Any, client: TestClient) -> None:
    run = submit()["id"]
    answer = client.get(f"/runs/{run}/")
    assert (answer.status_code, answer.url.path) == (200, f"/runs/{run}")
    within = f"/runs/{run}/api/2.0"
    listed = client.get(f"{within}/mlflow/artifacts/list?run_id={run}").json()
    assert listed["files"] == []
    where = listed["root_uri"].removeprefix("mlflow-artifacts:/")
    assert client.put(f"{within}/mlflow-artifacts/artifacts/{where}/a.txt", content=b"a").status_code == 200
    answer = client.get(f"{within}/mlflow-artifacts/artifacts", params={"path": where}).json()
    assert [file["path"] for file in answer["files"]] == ["a.txt"]


# Again ---------------------------------------------------------------------------------------------------------------


def test_a_retry_and_a_clone_start_exactly_the_same_command(
    submit: Any, client: TestClient, worker: Worker, recorder: Recorder, runs: Runs
) -> None:
    run = submit(name="tune")["id"]
    early = client.post(f"/api/v1/runs/{run}/retry")
    assert (early.status_code, "has not ended" in early.json()["detail"]) == (409, True)
    client.post(f"/api/v1/runs/{run}/cancel")
    retried = client.post(f"/api/v1/runs/{run}/retry").json()
    cloned = client.post(f"/api/v1/runs/{run}/clone", json={"name": "again", "priority": 2}).json()
    assert [each["relation"] for each in (retried, cloned)] == ["retry", "clone"]
    assert [each["title"] for each in (retried, cloned)] == ["tune", "again"]
    contents = runs.sql("SELECT DISTINCT content FROM run_command")
    assert len(contents) == 1
    page = client.post(f"/runs/{run}/retry", follow_redirects=False)
    assert page.status_code == 303


@pytest.mark.parametrize(("act", "body"), [("retry", None), ("clone", {"name": "again"})])
def test_a_command_that_is_repeated_twice_with_a_key_is_repeated_once(
    act: str, body: Any, submit: Any, client: TestClient
) -> None:
    run = submit(name="tune")["id"]
    client.post(f"/api/v1/runs/{run}/cancel")
    headers = {"idempotency-key": "once"}
    first, again = (client.post(f"/api/v1/runs/{run}/{act}", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()["id"]) == (201, again.json()["id"])
    other = client.post(f"/api/v1/runs/{run}/clone", json={"name": "other"}, headers=headers)
    assert (other.status_code, "use a new key" in other.json()["detail"]) == (409, True)


@pytest.mark.parametrize("changes", [{"argv": ["id"]}, {"lr": 0.1}, {"priority": 10_000}, {"folder": "/"}])
def test_a_clone_cannot_change_the_command(
    changes: dict[str, Any], submit: Any, client: TestClient, runs: Runs
) -> None:
    run = submit()["id"]
    assert list(errors_of(client.post(f"/api/v1/runs/{run}/clone", json=changes))) == list(changes)
    assert runs.sql("SELECT count(*) FROM run") == [(1,)]


@pytest.mark.parametrize("act", ["resume", "fork", "verify", "evaluate"])
def test_a_command_has_no_network_to_continue(act: str, submit: Any, client: TestClient) -> None:
    run = submit()["id"]
    client.post(f"/api/v1/runs/{run}/cancel")
    answer = client.post(f"/api/v1/runs/{run}/{act}", json={"epoch": 1} if act == "fork" else {})
    assert answer.status_code in (404, 409)
    assert answer.json()["detail"]


# Pages ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["queued", "starting", "running", "cancelling", "lost", "failed", "succeeded"])
def test_every_page_shows_a_command_in_every_state(state: str, submit: Any, client: TestClient, runs: Runs) -> None:
    run = submit(name="tune", restarts=1)["id"]
    started = 1_700_000_000.0 if state not in ("queued", "starting") else None
    ended = 1_700_000_100.0 if state in ("failed", "succeeded") else None
    runs.set(run, status=state, started_at=started, ended_at=ended, reason="exited with status 3", attempt=1)
    for path in (f"/runs/{run}", f"/runs/{run}/head", f"/runs/{run}/environment", f"/runs/{run}/card", "/runs"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "s3cret" not in answer.text
        assert "v4lue" not in answer.text
    for path in ("/", "/queue", f"/compare?runs={run}", "/api/v1/runs.csv", "/api/v1/queue", "/leaderboard"):
        assert client.get(path).status_code == 200, path
    page = Page(client.get(f"/runs/{run}").text)
    assert page.words["command-line"] == "/venv/bin/python train.py --lr 0.1 --token …"
    assert {"again", "act-clone", "run-aliases", "run-forecast"} & set(page.words) == set()
    assert ("act-retry" in page.html) == (state in ("failed", "succeeded"))
