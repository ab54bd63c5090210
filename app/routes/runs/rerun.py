"""/runs/{id}/retry, resume, clone, fork, verify, lineage and environment: what is done with a run that has been."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from app.actions.lineage import (
    AllowedActions,
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
from app.web.dependencies import CatalogDep, Parts, PartsDep

api = APIRouter(tags=["runs"])
pages = APIRouter()

Epochs = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Changes = Annotated[
    dict[str, Any],
    Body(max_length=60, examples=[{"lr": 0.0003, "epochs": 20}], description="Fields of a RunSpec; null: as usual."),
]


class ResumeIn(BaseModel):
    """What to go on to: more ``epochs`` than the run had extend it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"epochs": 20}]})

    epochs: Epochs | None = None


class ForkIn(BaseModel):
    """From the end of which ``epoch`` to go on, and which fields of the RunSpec are others from there on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"epoch": 4, "changes": {"lr": 0.0003, "epochs": 20}}]},
    )

    epoch: Epochs
    changes: dict[str, Any] = Field(default_factory=dict, max_length=60)


class RelativeOut(BaseModel):
    """A run of a family; ``step`` is how far it has come, ``deleted`` says that it is in the trash."""

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
    """Every ancestor and every descendant of a run and itself, oldest first; ``kept``: after which epochs it forks."""

    runs: list[RelativeOut]
    kept: list[int]


class VerdictOut(BaseModel):
    """Whether a rerun came out the same; ``metric`` and ``step`` say from where on it did not."""

    state: Literal["waiting", "identical", "differs", "cannot be told"]
    sentence: str
    run: str | None
    rerun: str | None
    metric: str | None
    step: int | None


def _made(parts: Parts, run_id: str, response: Response) -> RunOut:
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return as_json(*find_run(parts, run_id))


@api.post("/runs/{run_id}/retry", status_code=201)
def post_retry(run_id: str, parts: PartsDep, response: Response) -> RunOut:
    """An ended run once more, from the start, exactly as it was."""
    return _made(parts, retry(parts, run_id), response)


@api.post("/runs/{run_id}/resume", status_code=201)
def post_resume(run_id: str, parts: PartsDep, response: Response, wanted: ResumeIn | None = None) -> RunOut:
    """A new run that goes on from the last checkpoint of an ended one as if it had never stopped, or is extended.

    An extended run follows the schedule of all its epochs: cosine and one_cycle go on at the rate that a run of so many
    epochs has at this step.
    """
    return _made(parts, resume(parts, run_id, wanted.epochs if wanted else None), response)


@api.post("/runs/{run_id}/clone", status_code=201)
async def post_clone(
    run_id: str, parts: PartsDep, catalog: CatalogDep, response: Response, changes: Changes = {}
) -> RunOut:
    """A run with what this one was launched with, but for the fields that are named."""
    spec, config = await run_in_threadpool(clone, parts, catalog, run_id, changes)
    await parts.inspector.check(config)
    new = await run_in_threadpool(launch_clone, parts, catalog, run_id, spec, config)
    return await run_in_threadpool(_made, parts, new, response)


@api.post("/runs/{run_id}/fork", status_code=201)
def post_fork(run_id: str, wanted: ForkIn, parts: PartsDep, catalog: CatalogDep, response: Response) -> RunOut:
    """A new run that goes on from the checkpoint kept at the end of an epoch, with changed fields."""
    return _made(parts, fork(parts, catalog, run_id, wanted.epoch, wanted.changes), response)


@api.post("/runs/{run_id}/verify", status_code=201)
def post_verify(run_id: str, parts: PartsDep, response: Response) -> RunOut:
    """Train an ended run once more, to be told whether its curves come out identical."""
    return _made(parts, verify(parts, run_id), response)


@api.get("/runs/{run_id}/verify")
def get_verify(run_id: str, parts: PartsDep) -> VerdictOut:
    """Whether the last rerun of this run, or this rerun, came out the same, and if not, from which step on."""
    return VerdictOut(**asdict(verdict(parts, run_id)))


@api.get("/runs/{run_id}/lineage")
def get_lineage(run_id: str, parts: PartsDep) -> LineageOut:
    """Where a run comes from, and what came of it."""
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        kept = [each.epoch for each in lineage.kept(connection, run_id) if not each.within]
        return LineageOut(runs=[RelativeOut(**asdict(each)) for each in lineage.family(connection, run_id)], kept=kept)


@api.get("/runs/{run_id}/environment")
def get_environment(run_id: str, parts: PartsDep) -> dict[str, Any]:
    """All that is known of what a run was trained with: code, packages, machine, device, data, command."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return run.environment | lineage.read_capture(connection, run_id)


# Pages ---------------------------------------------------------------------------------------------------------------


def _to(run_id: str) -> RedirectResponse:
    return RedirectResponse(f"/runs/{run_id}", 303)


@pages.post("/runs/{run_id}/retry")
def retry_run(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Train a run once more."""
    return _to(retry(parts, run_id))


@pages.post("/runs/{run_id}/resume")
def resume_run(run_id: str, parts: PartsDep, epochs: Annotated[str, Form(max_length=20)] = "") -> RedirectResponse:
    """Go on with a run, to more epochs if some are named."""
    return _to(resume(parts, run_id, _whole("epochs", epochs)))


@pages.post("/runs/{run_id}/fork")
async def fork_run(run_id: str, request: Request, parts: PartsDep, catalog: CatalogDep) -> RedirectResponse:
    """Fork a run; a field that is blank stays as it was."""
    async with request.form(max_files=0, max_fields=100) as posted:
        said = {name: value.strip() for name, value in posted.items() if isinstance(value, str) and value.strip()}
    epoch = _whole("epoch", said.pop("epoch", ""))
    if epoch is None:
        raise Invalid("choose the epoch to go on from", [FieldError("epoch", "choose the epoch to go on from")])
    try:
        return _to(await run_in_threadpool(fork, parts, catalog, run_id, epoch, dict(said)))
    except SpecError as error:
        raise Invalid(str(error), error.errors) from error


@pages.post("/runs/{run_id}/verify")
def verify_run(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Train a run once more to be compared with it."""
    return _to(verify(parts, run_id))


def _whole(name: str, words: str) -> int | None:
    if not words.strip():
        return None
    if not words.strip().isdecimal() or len(words.strip()) > 6:
        sentence = f"{name} must be a whole number"
        raise Invalid(sentence, [FieldError(name, sentence)])
    return int(words)


@pages.get("/runs/{run_id}/environment")
def environment_card(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """What a run was trained with, as its page shows it."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        captured = lineage.read_capture(connection, run_id)
    return parts.templates.fragment(request, "_run_environment.html", run=run, captured=captured)


def around(parts: Parts, run: RunRecord, whole: bool = True) -> dict[str, Any]:
    """What a run's page shows of its family, of what can be done with it and, if ``whole``, of what trained it."""
    with reading(parts.engine) as connection:
        kept: AllowedActions = allowed_actions(run, lineage.kept(connection, run.id), course(connection, run))
        relatives = lineage.family(connection, run.id)
        captured = lineage.read_capture(connection, run.id) if whole else None
        rerun = run.relation == "verify" or lineage.newest_rerun(connection, run.id) is not None
    told: Verdict | None = verdict(parts, run.id) if rerun else None
    return {"possible": kept, "family": drawn(relatives, run.id), "captured": captured, "verdict": told}


def drawn(relatives: list[lineage.Relative], own: str) -> list[dict[str, Any]]:
    """A family in the order of its tree, each with how deep it stands and where its line begins and ends (0 to 100)."""
    if len(relatives) < 2:
        return []
    there = {each.id for each in relatives}
    children: dict[str | None, list[lineage.Relative]] = {}
    for each in relatives:
        children.setdefault(each.parent if each.parent in there else None, []).append(each)
    longest = max(max(each.step for each in relatives), 1)
    found: list[dict[str, Any]] = []
    waiting = [(each, 0) for each in reversed(children.get(None, []))]
    while waiting:
        each, depth = waiting.pop()
        begins = 100 * (each.parent_step or 0) / longest
        ends = max(100 * each.step / longest, begins)
        found.append({"run": each, "depth": min(depth, 6), "begins": begins, "ends": ends, "own": each.id == own})
        waiting += [(child, depth + 1) for child in reversed(children.get(each.id, []))]
    return found
