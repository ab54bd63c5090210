"""Storage of jobs on trained models, such as an evaluation or an export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.store.run import new_id

UNFINISHED = ("queued", "running")
ENDED = ("succeeded", "failed", "cancelled")


class ModelJob(SQLModel, table=True):
    """A job. ``options``, ``result``: JSON. ``status``: one of UNFINISHED and ENDED; ``share``: what is done, 0 to 1.

    ``reason``: why it failed. ``starts``: how often its process was started. Times are seconds since 1970, UTC.
    """

    __tablename__ = "model_job"

    id: str = Field(primary_key=True)
    run: str = Field(index=True, foreign_key="run.id", ondelete="CASCADE")
    kind: str
    options: str
    status: str = Field(index=True)
    share: float = 0.0
    reason: str = ""
    result: str = "{}"
    starts: int = 0
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True)
class JobRecord:
    """A row of ``model_job`` with its JSON parsed."""

    id: str
    run: str
    kind: str
    options: dict[str, Any]
    status: str
    share: float
    reason: str
    result: dict[str, Any]
    starts: int
    created_at: float
    started_at: float | None
    ended_at: float | None

    @property
    def live(self) -> bool:
        """Whether the job has not ended yet."""
        return self.status in UNFINISHED


_COLUMNS = ", ".join(JobRecord.__dataclass_fields__)


def _records(connection: Connection, condition: str, values: dict[str, Any]) -> list[JobRecord]:
    rows = connection.execute(text(f"SELECT {_COLUMNS} FROM model_job WHERE {condition}"), values).mappings()
    return [
        JobRecord(**dict(row) | {"options": from_json(row["options"]), "result": from_json(row["result"])})
        for row in rows
    ]


def add_job(connection: Connection, run: str, kind: str, options: dict[str, Any], now: float) -> JobRecord:
    """Queue a job; an unfinished one of the same run, kind and options is returned instead of a second one."""
    asked = {"run": run, "kind": kind, "options": to_json(dict(sorted(options.items()))).decode()}
    same = f"run = :run AND kind = :kind AND options = :options AND status IN {UNFINISHED} ORDER BY id LIMIT 1"
    for existing in _records(connection, same, asked):
        return existing
    values = asked | {"id": new_id(now, "j"), "now": now}
    connection.execute(
        text(
            "INSERT INTO model_job (id, run, kind, options, status, share, reason, result, starts, created_at)"
            " VALUES (:id, :run, :kind, :options, 'queued', 0, '', '{}', 0, :now)"
        ),
        values,
    )
    (added,) = _records(connection, "id = :id", values)
    return added


def find_job(connection: Connection, job: str) -> JobRecord | None:
    """The job with this id."""
    return next(iter(_records(connection, "id = :id", {"id": job})), None)


def jobs_of(connection: Connection, run: str, kind: str = "") -> list[JobRecord]:
    """The jobs of a run, newest first; of one kind, if it is given."""
    guard = " AND kind = :kind" if kind else ""
    return _records(connection, f"run = :run{guard} ORDER BY created_at DESC, id DESC", {"run": run, "kind": kind})


def newest_of(connection: Connection, runs: list[str], kind: str) -> dict[str, JobRecord]:
    """The newest job of one kind that succeeded, by run."""
    found = {}
    for run in runs:
        succeeded = [job for job in jobs_of(connection, run, kind) if job.status == "succeeded"]
        found |= {run: succeeded[0]} if succeeded else {}
    return found


def runs_with(connection: Connection, kind: str, dataset: str, most: int) -> list[tuple[str, int, str]]:
    """Runs on a dataset with a job of this kind that succeeded, newest first: id, number and name."""
    rows = connection.execute(
        text(
            "SELECT id, number, name, family, size FROM run WHERE dataset = :dataset AND deleted_at IS NULL AND EXISTS"
            " (SELECT 1 FROM model_job j WHERE j.run = run.id AND j.kind = :kind AND j.status = 'succeeded')"
            " ORDER BY number DESC LIMIT :most"
        ),
        {"dataset": dataset, "kind": kind, "most": most},
    )
    return [(row.id, row.number, row.name or f"{row.family} {row.size}") for row in rows]


def next_job(connection: Connection) -> JobRecord | None:
    """The queued job that has waited longest; jobs of runs in the trash wait until these are restored."""
    waiting = (
        "status = 'queued' AND run IN (SELECT id FROM run WHERE deleted_at IS NULL) ORDER BY created_at, id LIMIT 1"
    )
    return next(iter(_records(connection, waiting, {})), None)


def begin_job(connection: Connection, job: str, now: float) -> bool:
    """Set a queued job to running; False if it is not queued any more."""
    begun = connection.execute(
        text(
            "UPDATE model_job SET status = 'running', started_at = :now, share = 0, starts = starts + 1"
            " WHERE id = :job AND status = 'queued'"
        ),
        {"job": job, "now": now},
    )
    return begun.rowcount == 1


def set_share(connection: Connection, job: str, share: float) -> None:
    """Set how much of a running job is done."""
    connection.execute(
        text("UPDATE model_job SET share = :share WHERE id = :job AND status = 'running'"),
        {"job": job, "share": min(1.0, max(0.0, share))},
    )


def end_job(
    connection: Connection,
    job: str,
    status: str,
    now: float,
    *,
    reason: str = "",
    result: dict[str, Any] | None = None,
) -> bool:
    """End an unfinished job; False if it had ended before."""
    ended = connection.execute(
        text(
            "UPDATE model_job SET status = :status, reason = :reason, result = :result, ended_at = :now,"
            " share = CASE WHEN :status = 'succeeded' THEN 1.0 ELSE share END"
            f" WHERE id = :job AND status IN {UNFINISHED}"
        ),
        {
            "job": job,
            "status": status,
            "reason": reason,
            "result": to_json(result or {}, inf_nan_mode="null").decode(),
            "now": now,
        },
    )
    return ended.rowcount == 1


def requeue_jobs(connection: Connection, max_starts: int, now: float) -> None:
    """Queue the jobs that were running when their server ended; those started ``max_starts`` times fail."""
    for job in _records(connection, "status = 'running'", {}):
        if job.starts >= max_starts:
            end_job(connection, job.id, "failed", now, reason=f"the server ended {job.starts} times during this job")
    connection.execute(text("UPDATE model_job SET status = 'queued', share = 0 WHERE status = 'running'"))


def put_back(connection: Connection, job: str) -> None:
    """Queue a running job as if it had not been started."""
    connection.execute(
        text(
            "UPDATE model_job SET status = 'queued', share = 0, starts = starts - 1"
            " WHERE id = :job AND status = 'running'"
        ),
        {"job": job},
    )
