from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from sqlalchemy import Engine

from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.services.recorder import Recorder
from app.store import lineage
from app.store.curve import Curve
from app.store.database import next_commit, writing
from app.store.metric import add_points
from tests.conftest import errors_of
from tests.fake_worker import Worker

if TYPE_CHECKING:
    from tests.conftest import Runs

Trained = Callable[..., str]


def conflict(answer: Any) -> str:
    """Return the error message of a 409 response."""
    assert answer.status_code == 409, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


def made(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == "queued"
    assert answer.headers["location"] == f"/api/v1/runs/{found['id']}"
    return found


# Retry and clone -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
def test_a_retry_is_the_same_once_more_from_the_start(client: TestClient, trained: Trained, outcome: str) -> None:
    run = trained(outcome, lr=0.0123, name="mine", tags=["a"], seed=7)
    before = client.get(f"/api/v1/runs/{run}").json()
    found = made(client.post(f"/api/v1/runs/{run}/retry"))
    assert found["spec"] == before["spec"]
    assert (found["asked"], found["params"], found["tags"]) == (before["asked"], before["params"], ["a"])
    assert (found["parent"], found["relation"], found["parent_step"]) == (run, "retry", None)
    assert (found["summary"], found["progress"]) == ({}, {})
    assert client.get(f"/api/v1/runs/{run}").json()["status"] == outcome


@pytest.mark.parametrize("act", ["retry", "resume", "verify"])
def test_a_live_run_cannot_be_rerun_and_a_missing_one_is_not_found(
    client: TestClient, trained: Trained, act: str
) -> None:
    run = trained(None)
    assert "this run has not ended (status: running)" in conflict(client.post(f"/api/v1/runs/{run}/{act}"))
    assert client.post(f"/api/v1/runs/r_none/{act}").status_code == 404


def test_a_retry_reuses_the_batch_size_that_was_found(client: TestClient, trained: Trained, runs: Runs) -> None:
    run = trained("succeeded", find_batch=True, batch_size=640)
    assert made(client.post(f"/api/v1/runs/{run}/retry"))["spec"]["find_batch"] is True
    runs.set(run, environment='{"batch_size_found": 640}')
    spec = made(client.post(f"/api/v1/runs/{run}/retry"))["spec"]
    assert (spec["find_batch"], spec["batch_size"]) == (False, 640)


def test_a_clone_is_launched_with_what_was_asked_for_and_the_changes(client: TestClient) -> None:
    run = client.post("/api/v1/runs", json={"family": "simple_cnn", "size": "tiny", "lr": 0.01, "name": "first"}).json()
    found = made(client.post(f"/api/v1/runs/{run['id']}/clone", json={"lr": 0.5, "name": None, "epochs": 3}))
    assert found["asked"] == {"family": "simple_cnn", "size": "tiny", "lr": 0.5, "epochs": 3}
    assert (found["parent"], found["relation"]) == (run["id"], "clone")
    assert made(client.post(f"/api/v1/runs/{run['id']}/clone"))["spec"] == run["spec"]
    other = made(client.post(f"/api/v1/runs/{run['id']}/clone", json={"family": "simple_mlp"}))
    assert other["params"] != run["params"]
    errors = errors_of(client.post(f"/api/v1/runs/{run['id']}/clone", json={"size": "gigantic", "dataset": "nowhere"}))
    assert set(errors) == {"size", "dataset"}
    assert set(errors_of(client.post(f"/api/v1/runs/{run['id']}/clone", json={"rate": 1}))) == {"rate"}


# Resume and extend ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_stopped_run_goes_on_in_a_new_one_that_has_all_it_needs(
    client: TestClient, stopped: Callable[..., str], settings: Settings, runs: Runs, outcome: str
) -> None:
    run = stopped(outcome, step=130)
    found = made(client.post(f"/api/v1/runs/{run}/resume"))
    assert (found["parent"], found["relation"], found["parent_step"]) == (run, "resume", 130)
    assert found["spec"] == client.get(f"/api/v1/runs/{run}").json()["spec"]
    assert (found["progress"]["step"], found["progress"]["epoch"]) == (130, 2)
    curves = client.get(f"/api/v1/runs/{found['id']}/metrics?points=0").json()
    assert curves["train/loss"]["step"] == list(range(131))
    assert curves["val/acc"]["step"] == [100]
    begins = Checkpoint.model_validate_json(runs.get(found["id"]).checkpoint)
    assert begins.path == f"{found['id']}/0/last.safetensors"
    folder = Path(settings.artifacts) / found["id"] / "0"
    assert (folder / "last.safetensors").read_text() == f"{run} last"
    assert (folder / "best.safetensors").read_text() == f"{run} best"


def test_a_run_is_resumed_on_another_worker_or_on_any(client: TestClient, stopped: Callable[..., str]) -> None:
    run = stopped()
    elsewhere = made(client.post(f"/api/v1/runs/{run}/resume", json={"worker": " west "}))
    assert elsewhere["spec"]["worker"] == "west"
    again = made(client.post(f"/api/v1/runs/{run}/resume", json={"worker": "west", "epochs": 9}))
    assert (again["spec"]["worker"], again["spec"]["epochs"]) == ("west", 9)
    assert made(client.post(f"/api/v1/runs/{run}/resume", json={"worker": ""}))["spec"]["worker"] == ""
    assert client.post(f"/api/v1/runs/{run}/resume", json={"worker": "w" * 81}).status_code == 422


def test_a_page_offers_the_other_hosts_on_which_a_stopped_run_can_be_resumed(
    client: TestClient, stopped: Callable[..., str], redis: Redis, recorder: Recorder
) -> None:
    run, bound = stopped(device="cpu"), stopped(worker="south")

    def offered(path: str, name: str, kind: str = "cpu") -> list[str]:
        worker = Worker(redis, f"{name}-1", kind)
        worker.host = name
        worker.beat()
        recorder.step()
        return re.findall('<option value="(.*?)-"', client.get(path).text)

    assert offered(f"/runs/{run}", "east") == []
    assert offered(f"/runs/{bound}", "east") == ["east"]
    assert offered(f"/runs/{run}", "west") == ["east", "west"]
    assert offered(f"/runs/{run}/head", "north", "cuda") == ["east", "west"]
    assert offered(f"/runs/{bound}", "north", "cuda") == ["east", "north", "west"]
    to = client.post(f"/runs/{run}/resume", data={"worker": "west-"}, follow_redirects=False).headers["location"]
    assert client.get(f"/api/v1{to}").json()["spec"]["worker"] == "west-"
    assert offered(to, "west") == []


def test_purging_a_parent_leaves_its_child_intact(
    client: TestClient, stopped: Callable[..., str], settings: Settings, runs: Runs, recorder: Recorder
) -> None:
    found = made(client.post(f"/api/v1/runs/{(run := stopped())}/resume"))
    runs.set(run, deleted_at=1.0)
    recorder.housekeeper.reconcile()
    recorder.step()
    assert not (Path(settings.artifacts) / run).exists()
    assert client.get(f"/api/v1/runs/{run}").status_code == 404
    assert (Path(settings.artifacts) / found["id"] / "0" / "last.safetensors").exists()
    assert len(client.get(f"/api/v1/runs/{found['id']}/metrics?points=0").json()["train/loss"]["step"]) == 200
    told = client.get(f"/api/v1/runs/{found['id']}/lineage").json()
    assert told["kept"] == [4], "where it began it can be forked"
    family = told["runs"]
    assert [(each["id"], each["parent"]) for each in family] == [(found["id"], run)]


def test_a_run_without_a_checkpoint_or_with_nothing_left_to_do_is_not_resumed_and_says_why(
    client: TestClient, stopped: Callable[..., str], trained: Trained, settings: Settings
) -> None:
    assert "ended before its first checkpoint" in conflict(client.post(f"/api/v1/runs/{trained('failed')}/resume"))
    done = stopped("succeeded", step=200, epochs=4)
    assert "completed all of its epochs (4)" in conflict(client.post(f"/api/v1/runs/{done}/resume"))
    assert "completed all of its epochs (4)" in conflict(client.post(f"/api/v1/runs/{done}/resume", json={"epochs": 4}))
    early = stopped("succeeded", step=200, epochs=30, early_stopping=1)
    assert "stopped by early stopping" in conflict(client.post(f"/api/v1/runs/{early}/resume", json={"epochs": 50}))
    errors = errors_of(client.post(f"/api/v1/runs/{done}/resume", json={"epochs": 3}))
    assert "epochs must be at least 4" in errors["epochs"]
    wrong: list[Any] = [{"epochs": 0}, {"epochs": True}, {"epochs": "9"}, {"steps": 3}, []]
    for body in wrong:
        assert client.post(f"/api/v1/runs/{done}/resume", json=body).status_code == 422
    (Path(settings.artifacts) / done / "1" / "last.safetensors").unlink()
    assert "no longer in the artifact store" in conflict(client.post(f"/api/v1/runs/{done}/resume", json={"epochs": 9}))
    assert [each.name for each in Path(settings.artifacts).iterdir()].count(done) == 1
    assert len(list(Path(settings.artifacts).iterdir())) == 2, "a copy that failed left something"


def test_more_epochs_extend_a_run_that_has_made_all_of_its_own(client: TestClient, stopped: Callable[..., str]) -> None:
    run = stopped("succeeded", step=200, epochs=4)
    found = made(client.post(f"/api/v1/runs/{run}/resume", json={"epochs": 10}))
    assert (found["relation"], found["parent_step"], found["spec"]["epochs"]) == ("extend", 200, 10)
    assert found["asked"]["epochs"] == 10
    assert (found["progress"]["epoch"], found["progress"]["epochs"]) == (4, 10)
    # Its parent's test is not its own.
    assert "test/acc" not in found["summary"]


# Fork ----------------------------------------------------------------------------------------------------------------


def test_a_fork_goes_on_from_the_end_of_an_epoch_with_what_is_changed(
    client: TestClient, stopped: Callable[..., str], settings: Settings
) -> None:
    run = stopped(find_batch=True)
    changes = {"lr": 0.5, "batch_size": 32, "schedule": "one_cycle", "seed": 3, "flip": True, "epochs": 12}
    found = made(client.post(f"/api/v1/runs/{run}/fork", json={"epoch": 2, "changes": changes}))
    assert (found["relation"], found["parent_step"], found["parent"]) == ("fork", 100, run)
    assert {name: found["spec"][name] for name in changes} == changes
    assert (found["spec"]["warmup"], found["spec"]["find_batch"]) == (0.3, False)
    assert found["asked"] == client.get(f"/api/v1/runs/{run}").json()["asked"] | changes
    assert client.get(f"/api/v1/runs/{found['id']}/metrics?points=0").json()["train/loss"]["step"][-1] == 100
    assert (Path(settings.artifacts) / found["id"] / "0" / "last.safetensors").read_text() == f"{run} epoch-2"
    # Where it began, it can be forked again.
    again = made(client.post(f"/api/v1/runs/{found['id']}/fork", json={"epoch": 2}))
    assert again["spec"]["lr"] == 0.5


@pytest.mark.parametrize(
    "changes",
    [{"size": "small"}, {"family": "simple_cnn"}, {"dataset": "mnist"}, {"options": {"a": 1}}, {"auxiliary": True}],
)
def test_a_fork_that_would_need_another_network_is_refused_by_its_field(
    client: TestClient, stopped: Callable[..., str], changes: dict[str, Any]
) -> None:
    run = stopped()
    errors = errors_of(client.post(f"/api/v1/runs/{run}/fork", json={"epoch": 2, "changes": changes}))
    (name,) = changes
    assert list(errors) == [name]
    assert "clone the run" in errors[name]


def test_a_fork_names_the_epochs_that_are_kept_and_what_is_wrong_with_its_changes(
    client: TestClient, stopped: Callable[..., str], trained: Trained
) -> None:
    run = stopped()
    assert conflict(client.post(f"/api/v1/runs/{run}/fork", json={"epoch": 3})).endswith(
        "epochs with a checkpoint: 2, 4"
    )
    never = trained("succeeded", keep_checkpoints=0)
    assert "keep_checkpoints=0" in conflict(client.post(f"/api/v1/runs/{never}/fork", json={"epoch": 1}))
    young = trained(None)
    assert "no checkpoint to fork from" in conflict(client.post(f"/api/v1/runs/{young}/fork", json={"epoch": 1}))

    def refused(changes: dict[str, Any]) -> dict[str, str]:
        return errors_of(client.post(f"/api/v1/runs/{run}/fork", json={"epoch": 2, "changes": changes}))

    assert "greater than 2" in refused({"epochs": 2})["epochs"]
    assert "lr" in refused({"lr": -1})
    assert "recipe" in refused({"recipe": "fast"})
    assert "nonsense" in refused({"nonsense": 1})
    assert "epoch" in errors_of(client.post(f"/api/v1/runs/{run}/fork", json={"changes": {}}))


# Rerun and verify ----------------------------------------------------------------------------------------------------


def points(runs: Runs, run: str, **curves: list[float]) -> None:
    with writing(runs.engine) as connection:
        commit = next_commit(connection)
        for name, values in curves.items():
            steps = np.arange(1, len(values) + 1, dtype=np.int64)
            curve = Curve(steps, np.array(values), steps.astype(np.float64))
            add_points(connection, run, name.replace("__", "/"), curve, commit)


def test_a_rerun_says_on_both_sides_whether_the_curves_are_identical(client: TestClient, runs: Runs) -> None:
    first = runs.add()
    points(runs, first, train__loss=[3.0, 2.0, 1.0], system__x=[5.0])
    runs.finish(first)
    assert client.get(f"/api/v1/runs/{first}/verify").json()["state"] == "inconclusive"
    again = made(client.post(f"/api/v1/runs/{first}/verify"))
    assert (again["relation"], again["parent"]) == ("verify", first)
    for run in (first, again["id"]):
        said = client.get(f"/api/v1/runs/{run}/verify").json()
        assert (said["state"], said["run"], said["rerun"]) == ("waiting", first, again["id"])
    points(runs, again["id"], train__loss=[3.0, 2.0, 1.0])
    runs.finish(again["id"])
    for run in (first, again["id"]):
        assert client.get(f"/api/v1/runs/{run}/verify").json()["state"] == "identical"
        page = client.get(f"/runs/{run}").text
        assert "all curves are bit-identical" in page

    other = made(client.post(f"/api/v1/runs/{first}/verify"))["id"]
    points(runs, other, train__loss=[3.0, 2.5, 1.0])
    runs.finish(other)
    runs.set(other, environment='{"torch": "9"}')
    for run in (first, other):
        said = client.get(f"/api/v1/runs/{run}/verify").json()
        assert (said["state"], said["metric"], said["step"]) == ("differs", "train/loss", 2)
        assert "first differ at step 2 of train/loss: 2.0 in the original, 2.5 in the rerun" in said["sentence"]
        assert "(environments differ: torch None vs. 9)" in said["sentence"]
        assert said["sentence"].split("; ")[0] in client.get(f"/runs/{run}/head").text
    assert client.get(f"/api/v1/runs/{again['id']}/verify").json()["state"] == "identical"


def test_a_rerun_that_ended_early_or_of_a_run_that_did_is_compared_as_far_as_both_went(
    client: TestClient, runs: Runs
) -> None:
    first = runs.add()
    points(runs, first, train__loss=[3.0, 2.0])
    runs.finish(first, "cancelled")
    again = made(client.post(f"/api/v1/runs/{first}/verify"))["id"]
    points(runs, again, train__loss=[3.0, 2.0, 1.0], test__acc=[0.5])
    runs.finish(again)
    said = client.get(f"/api/v1/runs/{first}/verify").json()
    assert said["state"] == "identical"
    assert "up to step 2, where the original ended" in said["sentence"]
    third = made(client.post(f"/api/v1/runs/{again}/verify"))["id"]
    points(runs, third, train__loss=[3.0])
    runs.finish(third, "failed")
    said = client.get(f"/api/v1/runs/{third}/verify").json()
    assert said["state"] == "inconclusive"
    assert "ended at step 1 (failed)" in said["sentence"]
    empty = made(client.post(f"/api/v1/runs/{again}/verify"))["id"]
    runs.finish(empty, "cancelled")
    assert "has no points" in client.get(f"/api/v1/runs/{empty}/verify").json()["sentence"]


def test_a_fork_is_verified_from_where_it_began(
    client: TestClient, stopped: Callable[..., str], runs: Runs, settings: Settings
) -> None:
    fork = made(client.post(f"/api/v1/runs/{stopped()}/fork", json={"epoch": 2, "changes": {"lr": 0.5}}))["id"]
    runs.finish(fork)
    again = made(client.post(f"/api/v1/runs/{fork}/verify"))
    assert (again["relation"], again["parent"], again["parent_step"]) == ("verify", fork, 100)
    begun = (Path(settings.artifacts) / again["id"] / "0" / "last.safetensors").read_text()
    assert begun == (Path(settings.artifacts) / fork / "0" / "last.safetensors").read_text()
    assert client.get(f"/api/v1/runs/{again['id']}/metrics?points=0").json()["train/loss"]["step"][-1] == 100


# Environment ---------------------------------------------------------------------------------------------------------


def test_the_api_returns_the_complete_environment(client: TestClient, trained: Trained, engine: Engine) -> None:
    run = trained()
    assert client.get(f"/api/v1/runs/{run}/environment").json() == {}
    with writing(engine) as connection:
        lineage.save_capture(connection, run, {"command": "runyard up", "freeze": ["torch==2"]})
    assert client.get(f"/api/v1/runs/{run}/environment").json() == {"command": "runyard up", "freeze": ["torch==2"]}
    assert client.get("/api/v1/runs/r_none/environment").status_code == 404


def test_the_page_has_all_of_it_folded_and_its_updates_leave_it_where_it_is(
    client: TestClient, trained: Trained, engine: Engine, runs: Runs, look: Any
) -> None:
    run = trained()
    runs.set(run, environment='{"torch": "2.9"}')
    captured = {
        "command": "runyard up",
        "code": {"folder": "/src", "commit": "c0ffee" * 6, "branch": "main", "diff": "-a\n+<b>", "note": "cut"},
        "models": {"folder": "/nets", "note": "not in a Git repository"},
        "packages": {"torch": "2.9"},
        "freeze": ["torch==2.9", "numpy==2.0"],
        "machine": {"processor": "Test", "memory_bytes": 2**34},
        "device": {"kind": "cpu"},
        "dataset": {"name": "digits", "sha256": "ab" * 32},
    }
    with writing(engine) as connection:
        lineage.save_capture(connection, run, captured)
    page = look(client.get(f"/runs/{run}"))
    card = client.get(f"/runs/{run}/environment")
    for said in (page.html, card.text):
        for words in (
            "c0ffeec0ffee",
            "on main (uncommitted changes)",
            "+&lt;b&gt;",
            "numpy==2.0",
            "ab" * 32,
            "runyard up",
            "16 GiB",
        ):
            assert words in said, words
    assert not page.all("details", id="environment-changes", open="")
    update = client.get(f"/runs/{run}/head").text
    assert "numpy==2.0" not in update


# Pages ---------------------------------------------------------------------------------------------------------------


def test_a_page_offers_what_is_possible_and_nothing_else(
    client: TestClient, stopped: Callable[..., str], trained: Trained, look: Any
) -> None:
    ids = {"act-retry", "act-resume", "act-clone", "act-extend", "act-fork", "act-verify"}

    def offered(run: str) -> set[str]:
        page = look(client.get(f"/runs/{run}"))
        return {found["id"] for _, found in page.elements if found.get("id") in ids}

    assert offered(trained(None)) == {"act-clone"}
    assert offered(trained("failed")) == {"act-clone", "act-retry", "act-verify"}
    assert offered(stopped("cancelled")) == ids
    assert offered(stopped("succeeded", epochs=4)) == ids - {"act-resume"}
    assert offered(stopped("succeeded", epochs=30, early_stopping=1)) == ids - {"act-resume", "act-extend"}


def test_each_act_of_a_page_leads_to_the_new_run_without_a_script(
    client: TestClient, stopped: Callable[..., str]
) -> None:
    run = stopped()
    acts: list[tuple[str, dict[str, str], str]] = [
        ("retry", {}, "retry"),
        ("resume", {}, "resume"),
        ("resume", {"epochs": "20"}, "extend"),
        ("fork", {"epoch": "2", "lr": "0.5", "epochs": "", "schedule": "", "name": ""}, "fork"),
        ("verify", {}, "verify"),
    ]
    for act, form, relation in acts:
        answer = client.post(f"/runs/{run}/{act}", data=form, follow_redirects=False)
        assert answer.status_code == 303, answer.text[:500]
        found = client.get(f"/api/v1{answer.headers['location']}").json()
        assert (found["relation"], found["parent"]) == (relation, run)
    assert client.post(f"/runs/{run}/fork", data={"epoch": "3"}).status_code == 409
    for form in ({"epoch": "x"}, {}, {"epoch": "2", "lr": "x"}):
        answer = client.post(f"/runs/{run}/fork", data=form)
        assert answer.status_code == 422
        assert "<h1>" in answer.text
    assert client.post(f"/runs/{run}/resume", data={"epochs": "many"}).status_code == 422


def test_a_lineage_shows_links_states_and_branch_points(
    client: TestClient, stopped: Callable[..., str], look: Any
) -> None:
    run = stopped()
    assert look(client.get(f"/runs/{run}")).all("section", aria_labelledby="lineage-title") == []
    child = made(client.post(f"/api/v1/runs/{run}/fork", json={"epoch": 2}))["id"]
    page = look(client.get(f"/runs/{child}"))
    (section,) = page.all("section", aria_labelledby="lineage-title")
    assert page.one("a", class_="cut", href=f"/runs/{run}")
    assert len(page.all("li", aria_current="true")) == 1
    assert "from step 100" in page.html
    assert section
