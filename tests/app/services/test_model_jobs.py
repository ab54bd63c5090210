"""Jobs on models run one at a time in a process of their own, and end as they should whatever happens to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis import Redis
from sqlalchemy import Engine, text

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.events import Checkpoint, PredictionsKept
from app.contract.model_jobs import EvaluateResult
from app.contract.settings import Settings
from app.services.jobs_at_end import queue_jobs
from app.services.model_jobs import MAX_STARTS, ModelJobs
from app.store.database import reading, writing
from app.store.prediction_file import kept_files
from tests.conftest import Runs, until

KEPT = PredictionsKept(path="r/1/predictions.safetensors", kind="final", epoch=2, step=18, bytes=123)
RESULT = EvaluateResult(**KEPT.model_dump(), accuracy={"test": {"digit": 0.5}})

PROCESS = """
import json, os, sys, pathlib
request = json.loads(sys.stdin.readline())
folder = pathlib.Path(os.environ["TEST_FOLDER"])
(folder / f"{request['run']}.pid").write_text(str(os.getpid()))
print("a library says something", flush=True)
print(json.dumps({"share": 0.25}), flush=True)
fifo = folder / "go"
with open(fifo) as file:
    said = file.readline().strip()
if said == "die":
    os._exit(7)
print(said, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the processes of a test leave their ids, and wait for what to say."""
    os.mkfifo(tmp_path / "go")
    (tmp_path / "process.py").write_text(PROCESS)
    monkeypatch.setenv("TEST_FOLDER", str(tmp_path))
    return tmp_path


@pytest.fixture
def start(settings: Settings, engine: Engine, redis: Redis, folder: Path) -> Iterator[Callable[[], ModelJobs]]:
    """Starts a server's jobs; all of them are closed at the end."""
    opened = []

    def begin() -> ModelJobs:
        opened.append(ModelJobs(settings, engine, redis, (sys.executable, str(folder / "process.py"))))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


@pytest.fixture
def ended(runs: Runs) -> Callable[..., str]:
    """Adds a run that has ended with a checkpoint."""

    def add(**said: Any) -> str:
        run = runs.add(**said)
        runs.finish(run)
        best = Checkpoint(path=f"{run}/1/best.safetensors", epoch=2, step=18, best=True)
        runs.set(run, best_checkpoint=best.model_dump_json())
        return run

    return add


def process_of(folder: Path, run: str) -> psutil.Process:
    """The process that works on a run, once it waits for what to say."""
    file = folder / f"{run}.pid"
    return psutil.Process(int(until(lambda: file.exists() and file.read_text())))


def tell(folder: Path, line: str) -> None:
    (folder / "go").write_text(line + "\n")


def status(jobs: ModelJobs, job: str, expected: str) -> Callable[[], bool]:
    return lambda: jobs.find(job).status == expected


def test_a_job_reports_its_share_and_its_result_is_recorded(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path, engine: Engine
) -> None:
    jobs, run = start(), ended()
    job = jobs.start(run, "evaluate")
    assert (job.status, job.live) == ("queued", True)
    assert jobs.start(run, "evaluate").id == job.id, "an unfinished job is not doubled"
    process_of(folder, run)
    until(lambda: jobs.find(job.id).share == 0.25)
    tell(folder, '{"result": ' + RESULT.model_dump_json() + "}")
    until(status(jobs, job.id, "succeeded"))
    found = jobs.find(job.id)
    assert (found.share, found.starts, found.result["accuracy"]) == (1.0, 1, {"test": {"digit": 0.5}})
    with reading(engine) as connection:
        (file,) = kept_files(connection, run)
    assert (file.path, file.kind, file.fence, file.bytes) == (KEPT.path, "final", 1, 123)
    assert jobs.start(run, "evaluate").id != job.id, "a job that has ended is started anew"


def test_jobs_run_one_after_the_other_in_the_order_of_their_requests(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path
) -> None:
    jobs, first, second = start(), ended(), ended()
    one, two = jobs.start(first, "evaluate"), jobs.start(second, "evaluate")
    process_of(folder, first)
    assert jobs.find(two.id).status == "queued"
    tell(folder, '{"reason": "the moon is full"}')
    until(status(jobs, one.id, "failed"))
    assert jobs.find(one.id).reason == "the moon is full"
    process_of(folder, second)
    tell(folder, '{"result": ' + RESULT.model_dump_json() + "}")
    until(status(jobs, two.id, "succeeded"))


def test_a_process_that_dies_or_talks_nonsense_fails_its_job_with_a_sentence(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path
) -> None:
    jobs, run = start(), ended()
    dead = jobs.start(run, "evaluate")
    process_of(folder, run)
    tell(folder, "die")
    until(status(jobs, dead.id, "failed"))
    assert "ended (exit status 7)" in jobs.find(dead.id).reason
    (folder / f"{run}.pid").unlink()
    odd = jobs.start(run, "evaluate")
    process_of(folder, run)
    tell(folder, '{"result": {"nothing": 1}}')
    until(status(jobs, odd.id, "failed"))
    assert "no usable result" in jobs.find(odd.id).reason


def test_a_cancelled_job_is_killed_and_a_waiting_one_never_starts(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path
) -> None:
    jobs, first, second, third = start(), ended(), ended(), ended()
    running, waiting, last = (jobs.start(run, "evaluate") for run in (first, second, third))
    process = process_of(folder, first)
    assert jobs.cancel(waiting.id).status == "cancelled"
    assert jobs.cancel(running.id).status == "cancelled"
    until(lambda: not process.is_running())
    process_of(folder, third)
    tell(folder, '{"result": ' + RESULT.model_dump_json() + "}")
    until(status(jobs, last.id, "succeeded"))
    assert not (folder / f"{second}.pid").exists()
    assert jobs.cancel(last.id).status == "succeeded", "what has ended stays as it is"


def test_a_server_that_ends_kills_the_process_and_the_next_one_goes_on(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path
) -> None:
    jobs, first, second = start(), ended(), ended()
    running, waiting = jobs.start(first, "evaluate"), jobs.start(second, "evaluate")
    process = process_of(folder, first)
    jobs.close()
    assert not process.is_running()
    assert [jobs.find(job.id).status for job in (running, waiting)] == ["queued", "queued"]
    (folder / f"{first}.pid").unlink()
    following = start()
    following.resume()
    for run, job in ((first, running), (second, waiting)):
        process_of(folder, run)
        tell(folder, '{"result": ' + RESULT.model_dump_json() + "}")
        until(status(following, job.id, "succeeded"))
    assert following.find(running.id).starts == 1, "a clean end counts for nothing"


@pytest.mark.parametrize("heard", [True, False])
def test_what_the_recorder_queued_starts_when_it_is_heard_of_or_with_the_next_server(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path, engine: Engine, heard: bool
) -> None:
    jobs, run = start(), ended(robustness=True)
    with writing(engine) as connection:
        assert queue_jobs(connection, run, 1.0)
    (job,) = jobs.of_run(run)
    if heard:
        jobs.look()
    else:
        jobs.close()
        jobs = start()
        jobs.resume()
    process_of(folder, run)
    assert jobs.find(job.id).status == "running"
    jobs.close()
    jobs.look()
    assert jobs.find(job.id).status == "queued", "a server that ends starts nothing any more"


@pytest.mark.parametrize("starts", range(1, MAX_STARTS + 1))
def test_a_job_that_a_crashed_server_left_is_started_again_but_not_forever(
    start: Callable[[], ModelJobs], ended: Callable[..., str], folder: Path, runs: Runs, engine: Engine, starts: int
) -> None:
    jobs, run = start(), ended()
    job = jobs.start(run, "evaluate")
    process_of(folder, run)
    jobs.close()
    (folder / f"{run}.pid").unlink()
    with writing(engine) as connection:
        connection.execute(text("UPDATE model_job SET status = 'running', starts = :starts"), {"starts": starts})
    following = start()
    following.resume()
    if starts == MAX_STARTS:
        assert following.find(job.id).reason == f"the server ended {MAX_STARTS} times during this job"
        return
    process_of(folder, run)
    tell(folder, '{"result": ' + RESULT.model_dump_json() + "}")
    until(status(following, job.id, "succeeded"))


def test_a_run_without_weights_and_a_kind_that_does_not_exist_are_refused(
    start: Callable[[], ModelJobs], ended: Callable[..., str], runs: Runs
) -> None:
    jobs, live, bare = start(), runs.add(), ended()
    runs.set(bare, best_checkpoint="")
    with pytest.raises(NotFound, match="no run 'nowhere'"):
        jobs.start("nowhere", "evaluate")
    with pytest.raises(Conflict, match="has not ended yet"):
        jobs.start(live, "evaluate")
    with pytest.raises(Conflict, match="no checkpoint"):
        jobs.start(bare, "evaluate")
    with pytest.raises(Invalid, match="no kind of job 'bake'; kinds: evaluate"):
        jobs.start(ended(), "bake")
    with pytest.raises(Invalid, match="unknown field 'heat'"):
        jobs.start(ended(), "evaluate", {"heat": 3})
    assert runs.sql("SELECT count(*) FROM model_job") == [(0,)]


def test_the_real_process_runs_below_the_priority_of_training_and_ends_with_its_server(
    settings: Settings, engine: Engine, redis: Redis, ended: Callable[..., str]
) -> None:
    jobs, run = ModelJobs(settings, engine, redis), ended()
    job = jobs.start(run, "evaluate")
    until(lambda: not jobs.find(job.id).live, 120)
    found = jobs.find(job.id)
    assert (found.status, found.reason) == (
        "failed",
        f"the checkpoint {run}/1/best.safetensors is no longer in the artifact store; retry the run",
    )
    jobs.close()
