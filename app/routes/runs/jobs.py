"""/runs/{id}/jobs and /jobs/{id}: evaluate, examine and export the weights of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.contract.timestamps import iso
from app.store.model_job import JobRecord
from app.web.dependencies import PartsDep

api = APIRouter(tags=["models"])


class JobIn(BaseModel):
    """A job on the best checkpoint of a run. ``kind``: evaluate, robustness or export; ``options``: of this kind."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"kind": "evaluate"}]})

    kind: str = Field(max_length=40)
    options: dict[str, Any] = Field(default_factory=dict, max_length=20)


class JobOut(BaseModel):
    """A job. ``share``: what is done, 0 to 1; ``reason``: why it failed; ``result``: depends on the kind.
    Times are ISO 8601, UTC.
    """

    id: str
    run: str
    kind: str
    options: dict[str, Any]
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    share: float
    reason: str
    result: dict[str, Any]
    created: str
    started: str | None
    ended: str | None


class JobsOut(BaseModel):
    """The jobs of a run, newest first."""

    jobs: list[JobOut]


def job_out(job: JobRecord) -> JobOut:
    """Return a job as the API model."""
    times = {"created": iso(job.created_at), "started": iso(job.started_at), "ended": iso(job.ended_at)}
    return JobOut.model_validate(asdict(job) | times)


@api.post("/runs/{run_id}/jobs", status_code=202)
def post_job(run_id: str, body: JobIn, parts: PartsDep) -> JobOut:
    """Start a job on the best checkpoint of a run. Jobs run one at a time; the same unfinished job is not doubled.

    evaluate: predict the validation and test images, for runs whose predictions were not kept. robustness: measure the
    accuracy on test images that are noisy, blurred or changed in another way (option ``seed``). export: write the
    network as a file (options ``format``: onnx, torch_export or safetensors; ``preprocessing``: whether it takes raw
    pixels), which GET /runs/{run_id}/exports lists.
    """
    return job_out(parts.jobs.start(run_id, body.kind, body.options))


@api.get("/runs/{run_id}/jobs")
def get_jobs(run_id: str, parts: PartsDep) -> JobsOut:
    """List the jobs of a run, newest first."""
    return JobsOut(jobs=[job_out(job) for job in parts.jobs.of_run(run_id)])


@api.get("/jobs/{job_id}")
def get_job(job_id: str, parts: PartsDep) -> JobOut:
    """Get a job, with its progress and its result."""
    return job_out(parts.jobs.find(job_id))


@api.delete("/jobs/{job_id}")
def delete_job(job_id: str, parts: PartsDep) -> JobOut:
    """Cancel a job; one that has ended stays as it is."""
    return job_out(parts.jobs.cancel(job_id))
