"""Runs jobs on trained models, one at a time, each in a process of its own: ``python -m worker.model_jobs``."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from pydantic import ValidationError
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.contract.errors import Conflict, Invalid, NotFound, to_field_errors
from app.contract.events import Checkpoint
from app.contract.model_jobs import OPTIONS, WHILE_TRAINING, JobMessage, JobRequest
from app.contract.settings import Settings
from app.contract.spec import FieldError
from app.services import pubsub
from app.services.job_results import EFFECTS
from app.store import model_job
from app.store.database import next_commit, reading, writing
from app.store.model_job import JobRecord
from app.store.removal import why_removed
from app.store.run import RunRecord, load_run

logger = logging.getLogger("runyard.jobs")

COMMAND: Final = (sys.executable, "-m", "worker.model_jobs")
MAX_STARTS: Final = 3
"""A job fails when the server has ended this often while it was running: it may have been the reason."""
SHARE_SECONDS: Final = 0.3
END_SECONDS: Final = 10.0


class ModelJobs:
    """Queues jobs in the database and runs them in order; called from any thread.

    command: of the process that runs one job.
    """

    def __init__(self, settings: Settings, engine: Engine, redis: Redis, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._engine = engine
        self._redis = redis
        self._command = tuple(command)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._current: tuple[str, subprocess.Popen[str]] | None = None

    # Requests --------------------------------------------------------------------------------------------------------

    def start(self, run_id: str, kind: str, options: dict[str, Any] | None = None) -> JobRecord:
        """Queue a job; one that is the same and has not ended is returned instead.

        Raises NotFound, Invalid for an unknown kind or option, and Conflict if the run has no weights to work on.
        """
        checked = _checked(kind, options or {})
        with writing(self._engine) as connection:
            run = load_run(connection, run_id)
            if run is None:
                raise NotFound(f"no run '{run_id[:40]}'")
            if reason := refusal(run, kind):
                raise Conflict(reason)
            job = model_job.add_job(connection, run_id, kind, checked, time.time())
        self._start_thread()
        return job

    def find(self, job_id: str) -> JobRecord:
        """The job with this id. Raises NotFound."""
        with reading(self._engine) as connection:
            job = model_job.find_job(connection, job_id)
        if job is None:
            raise NotFound(f"no job '{job_id[:40]}'")
        return job

    def of_run(self, run_id: str, kind: str = "") -> list[JobRecord]:
        """The jobs of a run, newest first. Raises NotFound if there is no such run."""
        with reading(self._engine) as connection:
            if load_run(connection, run_id) is None:
                raise NotFound(f"no run '{run_id[:40]}'")
            return model_job.jobs_of(connection, run_id, kind)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job; nothing changes if it has ended. Raises NotFound."""
        self.find(job_id)
        with self._lock:
            with writing(self._engine) as connection:
                ended = model_job.end_job(connection, job_id, "cancelled", time.time())
            if ended and self._current is not None and self._current[0] == job_id:
                self._current[1].kill()
        return self.find(job_id)

    # The server's life -----------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Start what another process may have queued; returns at once."""
        if not self._closing.is_set():
            self._start_thread()

    def resume(self) -> None:
        """Go on with the jobs that were waiting or running when the server ended."""
        with writing(self._engine) as connection:
            model_job.requeue_jobs(connection, MAX_STARTS, time.time())
            waiting = model_job.next_job(connection)
        if waiting is not None:
            self._start_thread()

    def close(self) -> None:
        """End for good; the job that is running starts again with the next server."""
        self._closing.set()
        self._wake.set()
        with self._lock:
            if self._current is not None:
                self._current[1].kill()
            thread = self._thread
        if thread is not None:
            thread.join(END_SECONDS)

    def _start_thread(self) -> None:
        self._wake.set()
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._work, name="model-jobs", daemon=True)
                self._thread.start()

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            try:
                found = self._begin_next()
                if found is not None:
                    self._run(*found)
            except SQLAlchemyError as error:
                logger.error("could not go on with jobs (%s); retrying", error)
                found = None
                self._closing.wait(1.0)
                self._wake.set()
            if found is None:
                self._wake.wait()

    def _begin_next(self) -> tuple[JobRecord, JobRequest | None] | None:
        """Set the next job to running; without a request if its run has lost its weights meanwhile."""
        with writing(self._engine) as connection:
            job = model_job.next_job(connection)
            if job is None or not model_job.begin_job(connection, job.id, time.time()):
                return None
            run = load_run(connection, job.run)
        reason = "its run was deleted" if run is None else refusal(run, job.kind)
        if run is None or reason:
            self._fail(job, reason)
            return job, None
        settings = self._settings
        return job, JobRequest(
            job=job.id,
            kind=job.kind,
            run=job.run,
            fence=run.fence,
            checkpoint=Checkpoint.model_validate_json(run.best_checkpoint or run.checkpoint),
            options=job.options,
            artifacts=settings.artifacts,
            datasets=settings.datasets,
            models_path=settings.models_path,
        )

    def _run(self, job: JobRecord, request: JobRequest | None) -> None:
        if request is None:
            return
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        with self._lock:
            self._current = job.id, process
            if self._closing.is_set() or not self.find(job.id).live:
                process.kill()
        log = threading.Thread(target=_log, args=(process, job.id), name="model-job-log", daemon=True)
        log.start()
        try:
            self._follow(job, request, process)
        finally:
            process.kill()
            status = process.wait()
            log.join()
            with self._lock:
                self._current = None
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
        if self._closing.is_set():
            with writing(self._engine) as connection:
                model_job.put_back(connection, job.id)
        elif self.find(job.id).live:
            self._fail(job, f"the process of this job ended (exit status {status}); see the server's log")

    def _follow(self, job: JobRecord, request: JobRequest, process: subprocess.Popen[str]) -> None:
        """Read what the process says until its result."""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(request.model_dump_json() + "\n")
            process.stdin.flush()
        shown_at = 0.0
        for line in process.stdout:
            try:
                message = JobMessage.model_validate_json(line)
            except ValidationError:
                logger.warning("%s: %s", job.id, line.rstrip())
                continue
            if message.reason is not None:
                self._fail(job, message.reason)
                return
            if message.result is not None:
                self._succeed(job, message.result)
                return
            if message.share is not None and time.monotonic() - shown_at > SHARE_SECONDS:
                shown_at = time.monotonic()
                with writing(self._engine) as connection:
                    model_job.set_share(connection, job.id, message.share)

    def _succeed(self, job: JobRecord, result: dict[str, Any]) -> None:
        try:
            with writing(self._engine) as connection:
                commit, now = next_commit(connection), time.time()
                if not model_job.end_job(connection, job.id, "succeeded", now, result=result):
                    return
                if job.kind in EFFECTS:
                    EFFECTS[job.kind](connection, job, result, commit, now)
        except ValidationError as error:
            logger.error("%s: not a result of %s: %s", job.id, job.kind, error)
            self._fail(job, "the process of this job gave no usable result; see the server's log")
            return
        pubsub.notify_servers(self._redis, commit, {job.run: {"metrics"}})

    def _fail(self, job: JobRecord, reason: str) -> None:
        with writing(self._engine) as connection:
            model_job.end_job(connection, job.id, "failed", time.time(), reason=reason)


def refusal(run: RunRecord, kind: str) -> str:
    """Why a run takes no job of this kind; "" if it does."""
    if run.logged:
        return "this run was logged by a script, so its weights are not here"
    if run.live and kind not in WHILE_TRAINING:
        return f"this run has not ended yet (status: {run.status})"
    if not run.best_checkpoint and not run.checkpoint:
        why = why_removed(run, "best_checkpoints", "checkpoints")
        return f"this run has no checkpoint{f' any more: {why}' if why else ''}; retry it"
    return ""


def _checked(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    if kind not in OPTIONS:
        error = f"no kind of job '{kind[:40]}'; kinds: {', '.join(OPTIONS)}"
        raise Invalid(error, [FieldError("kind", error)])
    try:
        return OPTIONS[kind].model_validate(options).model_dump(mode="json")
    except ValidationError as error:
        errors = to_field_errors(error.errors())
        raise Invalid("; ".join(each.message for each in errors), errors) from error


def _log(process: subprocess.Popen[str], job_id: str) -> None:
    assert process.stderr is not None
    with process.stderr as lines:
        for line in lines:
            logger.warning("%s: %s", job_id, line.rstrip())
