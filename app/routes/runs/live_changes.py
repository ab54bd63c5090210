"""/runs/{id}/changes and /runs/{id}/marks: a run is changed while it trains, and what has happened to it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Strict, StrictStr

from app.actions.live_changes import VALUE_RULES, meaning, read_changes, refusal_reason, request_change
from app.contract.errors import Conflict, Invalid
from app.contract.events import ChangeKind
from app.contract.spec import FieldError, Integer, Number
from app.contract.timestamps import iso
from app.store.live_change import ChangeRecord
from app.store.run import RunRecord
from app.web.dependencies import Parts, PartsDep
from app.web.rendering import wants_fragment

api = APIRouter(tags=["runs"])
pages = APIRouter()


class ChangeIn(BaseModel):
    """A change of a run that trains. ``value``: of epochs their number, of lr_factor the factor, of note its text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"kind": "lr_factor", "value": 0.3}]})

    kind: ChangeKind
    value: Annotated[Integer, Strict()] | Annotated[Number, Strict()] | StrictStr | None = None


class ChangeOut(BaseModel):
    """A change: ``waiting`` until it is ``applied`` at a step, ``refused``, or ``late`` because the run has ended.

    ``epochs``: how many the run has in all from there on. ``inherited``: made to the run that this one goes on from.
    ``sentence`` says what it does to the rest of the run. Times in ISO 8601, UTC.
    """

    id: int
    kind: str
    value: int | float | str | None
    state: Literal["waiting", "applied", "refused", "late"]
    step: int | None
    epochs: int | None
    reason: str
    via: str
    inherited: bool
    sentence: str
    asked: str
    settled: str | None


class ChangesOut(BaseModel):
    """Every change of a run, in the order in which they were asked for."""

    changes: list[ChangeOut]


class MarkOut(BaseModel):
    """Something that happened at a step; ``time`` in seconds since 1970, UTC. The id of a fork is below 0."""

    id: int
    kind: Literal["checkpoint", "best", "warning", "restart", "change", "note", "fork"]
    step: int
    time: float
    text: str


class MarksOut(BaseModel):
    """What happened to a run, by step."""

    marks: list[MarkOut]


def _told(run: RunRecord, each: ChangeRecord) -> ChangeOut:
    said = asdict(each) | {"sentence": meaning(each.kind, run.config)}
    times = {"asked": iso(said.pop("asked_at")), "settled": iso(said.pop("settled_at"))}
    return ChangeOut.model_validate(said | times)


@api.post("/runs/{run_id}/changes", status_code=201)
def post_change(run_id: str, wanted: ChangeIn, parts: PartsDep, response: Response) -> ChangeOut:
    """Change a run before its next step: more or fewer epochs, its learning rate, a stop, a checkpoint, a note.

    A retry of the run repeats its configuration without the changes; a rerun to verify repeats them at their steps.
    """
    made = request_change(parts, run_id, wanted.kind, wanted.value, "API")
    response.headers["location"] = f"/api/v1/runs/{run_id}/changes"
    return _told(read_changes(parts, run_id)[0], made)


@api.get("/runs/{run_id}/changes")
def get_changes(run_id: str, parts: PartsDep) -> ChangesOut:
    """What was changed of a run, and what waits to be."""
    run, changes, _ = read_changes(parts, run_id)
    return ChangesOut(changes=[_told(run, each) for each in changes])


@api.get("/runs/{run_id}/marks")
def get_marks(run_id: str, parts: PartsDep) -> MarksOut:
    """What happened to a run: checkpoints that stay, its best epoch, warnings, restarts, changes, notes, forks."""
    return MarksOut(marks=[MarkOut(**asdict(each)) for each in read_changes(parts, run_id)[2]])


# Pages ---------------------------------------------------------------------------------------------------------------


def control_of(parts: Parts, run_id: str) -> dict[str, Any]:
    """What a run's page shows of its changes and marks."""
    run, changes, marks = read_changes(parts, run_id)
    unchangeable = refusal_reason(run)
    return {
        "run": run,
        "changes": changes,
        "events": marks,
        "unchangeable": unchangeable,
        "meanings": {} if unchangeable else {kind: meaning(kind, run.config) for kind in VALUE_RULES},
        "problem": "",
    }


@pages.post("/runs/{run_id}/changes")
def change_run(
    run_id: str,
    request: Request,
    parts: PartsDep,
    kind: Annotated[ChangeKind, Form()],
    value: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Change a run; with a script the list of its changes is the answer."""
    try:
        request_change(parts, run_id, kind, _typed(kind, value.strip()), "page")
    except (Invalid, Conflict) as error:
        if not wants_fragment(request):
            raise
        shown = control_of(parts, run_id) | {"problem": str(error)}
        return parts.templates.fragment(request, "_run_changes.html", **shown)
    if not wants_fragment(request):
        return RedirectResponse(f"/runs/{run_id}#control", 303)
    return parts.templates.fragment(request, "_run_changes.html", **control_of(parts, run_id))


def _typed(kind: ChangeKind, words: str) -> int | float | str | None:
    if kind == "note":
        return words
    if kind in ("stop_after_epoch", "checkpoint"):
        return None
    try:
        return int(words) if kind == "epochs" else float(words)
    except ValueError as error:
        raise Invalid(VALUE_RULES[kind], [FieldError("value", VALUE_RULES[kind])]) from error


@pages.get("/runs/{run_id}/changes")
def changes_card(run_id: str, request: Request, parts: PartsDep) -> Response:
    """The changes of a run and what has happened to it, as its page shows them."""
    if not wants_fragment(request):
        return RedirectResponse(f"/runs/{run_id}#control", 303)
    return parts.templates.fragment(request, "_run_changes.html", **control_of(parts, run_id))


@pages.get("/runs/{run_id}/control")
def control_card(run_id: str, request: Request, parts: PartsDep) -> Response:
    """What a run that trains can be changed with, as its page shows it."""
    if not wants_fragment(request):
        return RedirectResponse(f"/runs/{run_id}#control", 303)
    return parts.templates.fragment(request, "_run_control_forms.html", **control_of(parts, run_id))
