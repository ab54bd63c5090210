"""/runs/{id}/retry, resume, clone, fork, verify, lineage and environment: start new runs from an existing one."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Form, Header, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from app.actions.commands import repeat_command
from app.actions.lineage import (
    Verdict,
    allowed_actions,
    clone,
    course,
    fork,
    launch_clone,
    resume,
    retry,
    verdict,
    verify,
)
from app.actions.runs import find_run
from app.contract.errors import Invalid
from app.contract.spec import FieldError, SpecError
from app.routes.runs.api import RunOut, as_json
from app.store import lineage
from app.store.database import reading
from app.store.run import RunRecord
from app.store.worker import list_workers
from app.web.dependencies import CatalogDep, Parts, PartsDep

api = APIRouter(tags=["runs"])
pages = APIRouter()

Epochs = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Changes = Annotated[
    dict[str, Any],
    Body(
        max_length=60,
        examples=[{"lr": 0.0003, "epochs": 20}],
        description="RunSpec fields to change; null resets a field to its default.",
    ),
]


class ResumeIn(BaseModel):
    """Total ``epochs`` of the resumed run; more than the original run had extend it.

    ``worker``: train only there, given by host name or the start of its id; "" is any (default: as the original run).
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"epochs": 20}, {"worker": "gpu-box"}]})

    epochs: Epochs | None = None
    worker: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] | None = None


class ForkIn(BaseModel):
    """The ``epoch`` to fork from, at its end, and the RunSpec fields that change from there on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"epoch": 4, "changes": {"lr": 0.0003, "epochs": 20}}]},
    )

    epoch: Epochs
    changes: dict[str, Any] = Field(default_factory=dict, max_length=60)


class RelativeOut(BaseModel):
    """A run in a lineage. ``step``: its latest step; ``deleted``: it is in the trash."""

    id: str
    number: int
    title: str
    status: str
    parent: str | None
    relation: str
    parent_step: int | None
    step: int
    deleted: bool


class LineageOut(BaseModel):
    """A run with all ancestors and descendants, oldest first. ``kept``: epochs after which it can be forked."""

    runs: list[RelativeOut]
    kept: list[int]


class VerdictOut(BaseModel):
    """Whether a rerun reproduced the run. ``metric`` and ``step``: where the curves first differ."""

    state: Literal["waiting", "identical", "differs", "inconclusive"]
    sentence: str
    run: str | None
    rerun: str | None
    metric: str | None
    step: int | None


def _created(parts: Parts, run_id: str, response: Response) -> RunOut:
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return as_json(*find_run(parts, run_id))


IdempotencyKey = Annotated[str | None, Header(max_length=200)]


@api.post("/runs/{run_id}/retry", status_code=201)
def post_retry(run_id: str, parts: PartsDep, response: Response, idempotency_key: IdempotencyKey = None) -> RunOut:
    """Run an ended run again from the start, with the same configuration.

    Repeating an Idempotency-Key returns the run made with it before, here and for resume, clone, fork and verify.
    """
    return _created(parts, retry(parts, run_id, idempotency_key or None), response)


@api.post("/runs/{run_id}/resume", status_code=201)
def post_resume(
    run_id: str,
    parts: PartsDep,
    response: Response,
    body: ResumeIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> RunOut:
    """Start a new run from the last checkpoint of an ended run, optionally with more epochs or on another worker.

    Without more epochs, the run continues as if it had never stopped. With more, the schedule covers the new total:
    cosine and one_cycle continue at the learning rate that a run of this length has at this step.
    """
    asked = body.model_dump() if body else {}
    return _created(parts, resume(parts, run_id, **asked, key=idempotency_key or None), response)


@api.post("/runs/{run_id}/clone", status_code=201)
async def post_clone(
    run_id: str,
    parts: PartsDep,
    catalog: CatalogDep,
    response: Response,
    changes: Changes = {},
    idempotency_key: IdempotencyKey = None,
) -> RunOut:
    """Launch a copy of a run with some fields changed.

    Of a run that executes a command, only name, tags, notes, priority, device and worker can change. Of a run of a
    program, also its ``values``, by field: this launches the program as it is now.
    """
    key = idempotency_key or None
    run, _ = await run_in_threadpool(find_run, parts, run_id)
    if run.executed:
        new_id = await run_in_threadpool(repeat_command, parts, run, "clone", changes, key)
        return await run_in_threadpool(_created, parts, new_id, response)
    spec, config = await run_in_threadpool(clone, parts, catalog, run_id, changes)
    await parts.inspector.check(config)
    new_id = await run_in_threadpool(launch_clone, parts, catalog, run_id, spec, config, key)
    return await run_in_threadpool(_created, parts, new_id, response)


@api.post("/runs/{run_id}/fork", status_code=201)
def post_fork(
    run_id: str,
    body: ForkIn,
    parts: PartsDep,
    catalog: CatalogDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> RunOut:
    """Start a new run from the checkpoint saved at the end of an epoch, with changed fields."""
    return _created(parts, fork(parts, catalog, run_id, body.epoch, body.changes, idempotency_key or None), response)


@api.post("/runs/{run_id}/verify", status_code=201)
def post_verify(run_id: str, parts: PartsDep, response: Response, idempotency_key: IdempotencyKey = None) -> RunOut:
    """Run an ended run again to check whether its curves are identical."""
    return _created(parts, verify(parts, run_id, idempotency_key or None), response)


@api.get("/runs/{run_id}/verify")
def get_verify(run_id: str, parts: PartsDep) -> VerdictOut:
    """Get whether this rerun, or the latest rerun of this run, matches the original, and where it first differs."""
    return VerdictOut(**asdict(verdict(parts, run_id)))


@api.get("/runs/{run_id}/lineage")
def get_lineage(run_id: str, parts: PartsDep) -> LineageOut:
    """List the ancestors and descendants of a run."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        kept = [relative.epoch for relative in lineage.saved_checkpoints(connection, run_id) if not relative.within]
        return LineageOut(
            runs=[RelativeOut(**asdict(relative)) for relative in lineage.family(connection, run_id)], kept=kept
        )


@api.get("/runs/{run_id}/environment")
def get_environment(run_id: str, parts: PartsDep) -> dict[str, Any]:
    """Get the environment of a run: code, packages, machine, device, data and command."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return run.environment | lineage.read_capture(connection, run_id)


# Pages ---------------------------------------------------------------------------------------------------------------


def _redirect(run_id: str) -> RedirectResponse:
    return RedirectResponse(f"/runs/{run_id}", 303)


@pages.post("/runs/{run_id}/retry")
def retry_run(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Retry a run."""
    return _redirect(retry(parts, run_id))


@pages.post("/runs/{run_id}/resume")
def resume_run(
    run_id: str,
    parts: PartsDep,
    epochs: Annotated[str, Form(max_length=20)] = "",
    worker: Annotated[str, Form(max_length=80)] = "",
) -> RedirectResponse:
    """Resume a run, or extend it to more epochs; ``worker``: where, blank: as the original run."""
    return _redirect(resume(parts, run_id, _parse_int("epochs", epochs), worker.strip() or None))


@pages.post("/runs/{run_id}/fork")
async def fork_run(run_id: str, request: Request, parts: PartsDep, catalog: CatalogDep) -> RedirectResponse:
    """Fork a run; blank fields keep their values."""
    async with request.form(max_files=0, max_fields=100) as posted:
        fields = {name: value.strip() for name, value in posted.items() if isinstance(value, str) and value.strip()}
    epoch = _parse_int("epoch", fields.pop("epoch", ""))
    if epoch is None:
        raise Invalid("choose an epoch to fork from", [FieldError("epoch", "choose an epoch to fork from")])
    try:
        return _redirect(await run_in_threadpool(fork, parts, catalog, run_id, epoch, dict(fields)))
    except SpecError as error:
        raise Invalid(str(error), error.errors) from error


@pages.post("/runs/{run_id}/verify")
def verify_run(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Rerun a run to verify it."""
    return _redirect(verify(parts, run_id))


def _parse_int(name: str, text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or len(text.strip()) > 6:
        sentence = f"{name} must be a whole number"
        raise Invalid(sentence, [FieldError(name, sentence)])
    return int(text)


@pages.get("/runs/{run_id}/environment")
def environment_card(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render the environment of a run."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        captured = lineage.read_capture(connection, run_id)
    return parts.templates.fragment(request, "_run_environment.html", run=run, captured=captured)


def rerun_context(parts: Parts, run: RunRecord, with_environment: bool = True) -> dict[str, Any]:
    """Return the template values for lineage, verdict and available actions, and the environment if requested."""
    with reading(parts.engine) as connection:
        checkpoints = lineage.saved_checkpoints(connection, run.id)
        actions = allowed_actions(run, checkpoints, course(connection, run))
        relatives = lineage.family(connection, run.id)
        captured = lineage.read_capture(connection, run.id) if with_environment else None
        rerun = run.relation == "verify" or lineage.newest_rerun(connection, run.id) is not None
        hosts = _hosts(connection, parts, run) if actions.resume else []
    verification: Verdict | None = verdict(parts, run.id) if rerun else None
    return {
        "possible": actions,
        "hosts": hosts,
        "family": lineage_rows(relatives, run.id),
        "captured": captured,
        "verdict": verification,
    }


def _hosts(connection: Connection, parts: Parts, run: RunRecord) -> list[str]:
    """Return the hosts on which a run can be resumed, if there is a choice: several, or others than it was bound to."""
    workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
    hosts = sorted({worker.host for worker in workers if worker.takes(run.device_wanted, "")})
    return hosts if len(hosts) > 1 or run.worker_wanted else []


def lineage_rows(relatives: list[lineage.Relative], own_id: str) -> list[dict[str, Any]]:
    """Return a lineage in tree order, with depth and the start and end of each bar (0 to 100)."""
    if len(relatives) < 2:
        return []
    ids = {relative.id for relative in relatives}
    children: dict[str | None, list[lineage.Relative]] = {}
    for relative in relatives:
        children.setdefault(relative.parent if relative.parent in ids else None, []).append(relative)
    longest = max(max(relative.step for relative in relatives), 1)
    rows: list[dict[str, Any]] = []
    stack = [(relative, 0) for relative in reversed(children.get(None, []))]
    while stack:
        relative, depth = stack.pop()
        start = 100 * (relative.parent_step or 0) / longest
        end = max(100 * relative.step / longest, start)
        rows.append(
            {"run": relative, "depth": min(depth, 6), "begins": start, "ends": end, "own": relative.id == own_id}
        )
        stack += [(child, depth + 1) for child in reversed(children.get(relative.id, []))]
    return rows
