"""Administrators see what is too old to be kept, and remove it; one sentence says what is gone wherever it was."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.actions.retention import Retention
from app.contract.events import Checkpoint, LogLine, PredictionsKept
from app.contract.settings import Settings
from app.services import artifacts, cleaner
from app.services.recorder import Recorder
from app.services.retention import Plan, rules
from app.store.database import writing
from app.store.lineage import save_checkpoint
from app.store.log import add_lines
from app.store.prediction_file import record_file
from app.web.dependencies import Parts
from tests.app.services.recording import tick
from tests.checkpoints import finished_run
from tests.conftest import Clock, Runs
from tests.people import ADMINISTRATOR, NAMES, bearer

KINDS = ["checkpoints", "best_checkpoints", "predictions", "logs"]
EVERYTHING = {f"{kind}_days": 30.0 for kind in KINDS}
GONE = "removed on 20"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Everything of old runs goes."""
    return settings.model_copy(update=EVERYTHING)


@pytest.fixture
def old(settings: Settings, engine: Engine, runs: Runs) -> str:
    """A run that ended years ago, and has all that a run can have."""
    run, _ = finished_run(runs, settings, family="simple_mlp", size="tiny", dataset="digits", epochs=3)
    artifacts.write(settings, f"{run}/1/epoch-1.safetensors", b"x" * 100)
    artifacts.write(settings, f"{run}/1/predictions", b"x" * 50)
    with writing(engine) as connection:
        path = f"{run}/1/epoch-1.safetensors"
        save_checkpoint(connection, run, Checkpoint(path=path, epoch=1, step=10, kept=True, bytes=100))
        kept = PredictionsKept(path=f"{run}/1/predictions", kind="final", epoch=1, step=10, bytes=50)
        record_file(connection, run, 1, kept, 1_700_000_100.0)
        add_lines(connection, run, 1, [LogLine(time=1_700_000_100.0, level="info", text="training")], 1)
    return run


def test_the_plan_says_what_would_go_and_why_and_changes_nothing(
    settings: Settings, admin: TestClient, old: str
) -> None:
    for _ in range(2):
        planned = admin.get("/api/v1/retention").json()
        assert [each["kind"] for each in planned["entries"]] == [
            "checkpoints",
            "best_checkpoints",
            "predictions",
            "logs",
        ]
        first = planned["entries"][0]
        assert (first["run"], first["number"], first["title"], first["files"]) == (
            old,
            1,
            "simple_mlp tiny · digits",
            2,
        )
        assert first["why"].endswith(" days ago, kept for 30 days")
        assert planned["bytes"] == sum(each["bytes"] for each in planned["entries"])
        assert (planned["count"], planned["missing"], planned["deleting_files"]) == (4, 0, 0)
    assert {rule["setting"]: rule["value"] for rule in planned["rules"]} == {
        **{f"RUNYARD_{name.upper()}": days for name, days in EVERYTHING.items()},
        "RUNYARD_SPOOLS_DAYS": None,
        "RUNYARD_TRASH_DAYS": 7,
        "RUNYARD_KEEP_FREE_GIB": None,
        "RUNYARD_MOST_STORED_GIB": None,
    }
    assert len(artifacts.find(settings, f"{old}/*/*")) == 4
    assert admin.get("/api/v1/retention", params={"limit": 1}).json()["count"] == 4


def test_what_was_removed_is_deleted_by_the_recorder_and_in_the_audit_log(
    settings: Settings,
    admin: TestClient,
    old: str,
    recorder: Recorder,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cleaner, "STEP_SECONDS", 60.0)
    planned = admin.get("/api/v1/retention").json()
    done = admin.post("/api/v1/retention").json()
    assert done == {"count": 4, "bytes": planned["bytes"], "left": 0}
    waiting = admin.get("/api/v1/retention").json()
    assert (waiting["count"], waiting["deleting_files"]) == (0, 4)
    page = admin.get("/admin/system").text
    assert "Deleting 4 files" in page
    assert 'hx-trigger="every 1s"' in page
    tick(recorder, clock)
    assert artifacts.find(settings, f"{old}/*/*") == []
    part = admin.get("/admin/system/retention", params={"doomed": waiting["deleting_bytes"]}).text
    assert "Deleting" not in part
    assert "There is nothing to remove now." in part
    (event,) = admin.get("/api/v1/audit", params={"action": "retention."}).json()["events"]
    assert (event["who"], event["detail"]["runs"], event["detail"]["logs"]) == (ADMINISTRATOR, 1, 1)
    assert admin.post("/api/v1/retention").json() == {"count": 0, "bytes": 0, "left": 0}


def test_the_page_removes_it_too(admin: TestClient, old: str) -> None:
    page = admin.get("/admin/system").text
    assert "simple_mlp tiny · digits" in page
    assert "RUNYARD_CHECKPOINTS_DAYS=30" in page
    assert "Remove 4 now" in page
    answer = admin.post("/admin/system/retention", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/system#retention")
    assert "Remove 4 now" not in admin.get("/admin/system").text


def test_nobody_but_administrators_sees_or_removes_anything(parts: Parts, client: TestClient, old: str) -> None:
    header = bearer(parts, NAMES["member"])
    for method in ("GET", "POST"):
        assert client.request(method, "/api/v1/retention", headers=header).status_code == 403
        assert client.request(method, "/admin/system/retention", headers=header).status_code == 403


def refusal(answer: Any) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code == 409, answer.text[:300]
    return str(answer.json()["detail"])


def test_pages_and_answers_say_in_one_sentence_what_is_gone(admin: TestClient, old: str) -> None:
    before = admin.get(f"/api/v1/runs/{old}").json()
    assert before["removed"] == {}
    admin.post("/api/v1/retention")
    removed = admin.get(f"/api/v1/runs/{old}").json()["removed"]
    assert set(removed) == {*KINDS}
    day = removed["checkpoints"][:10]
    assert refusal(admin.post(f"/api/v1/runs/{old}/resume", json={})) == (
        f"this run cannot be resumed: its checkpoints to resume and fork from were removed on {day} to free disk space;"
        " retry it instead"
    )
    refusals = [
        admin.post(f"/api/v1/runs/{old}/fork", json={"epoch": 1, "changes": {"epochs": 5}}),
        admin.post(f"/api/v1/runs/{old}/jobs", json={"kind": "evaluate"}),
        admin.post(f"/api/v1/runs/{old}/jobs", json={"kind": "export", "options": {"format": "onnx"}}),
        admin.post(f"/api/v1/runs/{old}/predict", json={"pictures": ["aGVsbG8="]}),
        admin.post(f"/api/v1/runs/{old}/predict?checkpoint=last", json={"pictures": ["aGVsbG8="]}),
        admin.put("/api/v1/models/digits", json={"run": old}),
    ]
    assert [each for each in map(refusal, refusals) if GONE not in each] == []
    page = admin.get(f"/runs/{old}").text
    for words in ("Its checkpoints to resume", "Its best checkpoint was", "Its predictions were", "Its log was"):
        assert f"{words}" in page
    assert "No model name can point here: its best checkpoint was removed" in page
    assert GONE in admin.get(f"/runs/{old}/predictions").text
    assert GONE in admin.get(f"/runs/{old}/card").text
    for path in ("files", "robustness", "predictions/pictures", "control", "head", "environment", "changes"):
        assert admin.get(f"/runs/{old}/{path}").status_code < 500, path
    for path in ("files", "files.zip", "logs", "predictions", "exports", "disk", "card", "lineage", "marks"):
        assert admin.get(f"/api/v1/runs/{old}/{path}").status_code < 500, path
    assert admin.get("/playground", params={"runs": "1"}).status_code == 200
    assert admin.post(f"/api/v1/runs/{old}/retry").status_code == 201


@pytest.mark.parametrize(
    ("changes", "limited"), [({}, False), ({"trash_days": 1.0}, False), ({"logs_days": 30.0}, True)]
)
def test_the_days_of_deleted_runs_alone_are_no_limit(changes: dict[str, float], limited: bool) -> None:
    found = Retention(rules(Settings().model_copy(update=changes)), Plan(()), 0, 0)
    assert found.limited is limited
