"""Files that exports wrote are listed and downloaded; the run's page starts an export and shows how it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from app.contract.events import Checkpoint
from app.contract.model_jobs import ExportedFile, ExportResult
from app.services.model_jobs import ModelJobs
from app.store import model_job
from app.store.database import writing

ONNX = ExportResult(
    format="onnx",
    preprocessing=True,
    files=[ExportedFile(name="model.onnx", bytes=5)],
    difference=3.2e-7,
    pictures=256,
    epoch=2,
    step=18,
)


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay in the queue: what a process would say is written by the tests."""
    monkeypatch.setattr(ModelJobs, "_start_thread", lambda self: None)


@pytest.fixture
def saved(trained: Any, runs: Any) -> str:
    """A run that has ended with a checkpoint."""
    run = str(trained())
    best = Checkpoint(path=f"{run}/1/best.safetensors", epoch=2, step=18, best=True)
    runs.set(run, best_checkpoint=best.model_dump_json())
    return run


def end(engine: Engine, job: str, **said: Any) -> None:
    with writing(engine) as connection:
        assert model_job.begin_job(connection, job, time.time())
        assert model_job.end_job(connection, job, now=time.time(), **said)


def test_an_export_is_listed_and_downloaded_once_its_job_has_succeeded(
    client: Any, saved: str, engine: Engine, settings: Any
) -> None:
    body = {"kind": "export", "options": {"format": "onnx"}}
    job = client.post(f"/api/v1/runs/{saved}/jobs", json=body).json()
    assert job["options"] == {"format": "onnx", "preprocessing": True}
    assert client.get(f"/api/v1/runs/{saved}/exports").json() == {"exports": []}
    end(engine, job["id"], status="succeeded", result=ONNX.model_dump())
    (listed,) = client.get(f"/api/v1/runs/{saved}/exports").json()["exports"]
    assert (listed["name"], listed["difference"], listed["bytes"]) == ("model.onnx", 3.2e-7, 5)
    folder = Path(settings.artifacts.removeprefix("file://")) / saved / "exports"
    assert "is no longer in the artifact store; export it again" in client.get(listed["url"]).json()["detail"]
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model")
    answer = client.get(listed["url"])
    assert answer.content == b"model"
    assert answer.headers["content-disposition"] == 'attachment; filename="run-1-model.onnx"'
    assert "files: model.onnx" in client.get(f"/api/v1/runs/{saved}/exports/best.safetensors").text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({}, "format"), ({"format": "tflite"}, "onnx"), ({"format": "onnx", "preprocessing": "yes"}, "preprocessing")],
)
def test_other_options_are_refused(client: Any, saved: str, options: Any, sentence: str) -> None:
    answer = client.post(f"/api/v1/runs/{saved}/jobs", json={"kind": "export", "options": options})
    assert answer.status_code == 422
    assert sentence in answer.text
    assert client.get(f"/api/v1/runs/{saved}/jobs").json() == {"jobs": []}


def test_the_section_shows_an_export_from_its_start_to_its_file(
    client: Any, look: Any, saved: str, engine: Engine
) -> None:
    page = look(client.get(f"/runs/{saved}"))
    assert page.one("button", id="make-onnx")
    assert "onnxruntime.InferenceSession(&#34;run-1-model.onnx&#34;)" in page.html
    begun = client.post(
        f"/runs/{saved}/export", data={"format": "onnx", "preprocessing": "true"}, headers={"HX-Request": "true"}
    )
    assert 'hx-trigger="every 1s"' in begun.text
    assert "Waiting" in begun.text
    (job,) = client.get(f"/api/v1/runs/{saved}/jobs").json()["jobs"]
    end(engine, job["id"], status="succeeded", result=ONNX.model_dump())
    after = client.get(f"/runs/{saved}/use").text
    assert "every 1s" not in after
    assert "differs from torch by at most 3.2e-07 in a probability, on 256 test images" in after


def test_a_failed_export_says_why(client: Any, saved: str, engine: Engine) -> None:
    client.post(f"/runs/{saved}/export", data={"format": "onnx"}, follow_redirects=False)
    (job,) = client.get(f"/api/v1/runs/{saved}/jobs").json()["jobs"]
    assert job["options"]["preprocessing"] is False
    end(engine, job["id"], status="failed", reason="ONNX needs packages")
    assert "ONNX needs packages." in client.get(f"/runs/{saved}/use").text


def test_a_run_that_still_trains_says_that_its_files_come_later(client: Any, look: Any, trained: Any) -> None:
    run = trained(outcome=None)
    page = look(client.get(f"/runs/{run}"))
    assert "Its files can be made once it has ended." in page.html
    assert not page.all("button", id="make-onnx")
