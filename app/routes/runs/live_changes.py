"""/runs/{id}/changes and /runs/{id}/marks: change a run while it trains, and list its events."""

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
    """A change to a running run. ``value``: the number of epochs, the factor for lr_factor, or the text of a note."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"kind": "lr_factor", "value": 0.3}]})

    kind: ChangeKind
    value: Annotated[Integer, Strict()] | Annotated[Number, Strict()] | StrictStr | None = None


class ChangeOut(BaseModel):
    """A change: ``waiting``, then ``applied`` at a step, ``refused``, or ``late`` because the run had ended.

    ``epochs``: total epochs of the run from then on. ``inherited``: made to the parent run, before this run started.
    ``sentence`` describes the effect on the rest of the run. Times are ISO 8601, UTC.
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
    """All changes of a run, in the order of their requests."""

    changes: list[ChangeOut]


class MarkOut(BaseModel):
    """An event at a step. ``time`` is in seconds since 1970, UTC. IDs of forks are negative."""

    id: int
    kind: Literal["checkpoint", "best", "warning", "restart", "change", "note", "fork"]
    step: int
    time: float
    text: str


class MarksOut(BaseModel):
    """Events of a run, by step."""

    marks: list[MarkOut]


def _change_out(run: RunRecord, change: ChangeRecord) -> ChangeOut:
    fields = asdict(change) | {"sentence": meaning(change.kind, run.config)}
    times = {"asked": iso(fields.pop("asked_at")), "settled": iso(fields.pop("settled_at"))}
    return ChangeOut.model_validate(fields | times)


@api.post("/runs/{run_id}/changes", status_code=201)
def post_change(run_id: str, body: ChangeIn, parts: PartsDep, response: Response) -> ChangeOut:
    """Change a running run before its next step: epochs, learning rate, stop, checkpoint or note.

    A retry of the run drops the changes; a verification rerun repeats them at the same steps.
    """
    change = request_change(parts, run_id, body.kind, body.value, "API")
    response.headers["location"] = f"/api/v1/runs/{run_id}/changes"
    return _change_out(read_changes(parts, run_id)[0], change)


@api.get("/runs/{run_id}/changes")
def get_changes(run_id: str, parts: PartsDep) -> ChangesOut:
    """List the changes of a run, including those still waiting."""
    run, changes, _ = read_changes(parts, run_id)
    return ChangesOut(changes=[_change_out(run, change) for change in changes])


@api.get("/runs/{run_id}/marks")
def get_marks(run_id: str, parts: PartsDep) -> MarksOut:
    """List the events of a run: saved checkpoints, best epoch, warnings, restarts, changes, notes and forks."""
    return MarksOut(marks=[MarkOut(**asdict(change)) for change in read_changes(parts, run_id)[2]])


# Pages ---------------------------------------------------------------------------------------------------------------


def control_context(parts: Parts, run_id: str) -> dict[str, Any]:
    """Return the template values for the changes and marks of a run."""
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
    """Change a run; htmx gets the updated list of changes."""
    try:
        request_change(parts, run_id, kind, _parse_value(kind, value.strip()), "page")
    except (Invalid, Conflict) as error:
        if not wants_fragment(request):
            raise
        context = control_context(parts, run_id) | {"problem": str(error)}
        return parts.templates.fragment(request, "_run_changes.html", **context)
    if not wants_fragment(request):
        return RedirectResponse(f"/runs/{run_id}#control", 303)
    return parts.templates.fragment(request, "_run_changes.html", **control_context(parts, run_id))


def _parse_value(kind: ChangeKind, text: str) -> int | float | str | None:
    if kind == "note":
        return text
    if kind in ("stop_after_epoch", "checkpoint"):
        return None
    try:
        return int(text) if kind == "epochs" else float(text)
    except ValueError as error:
        raise Invalid(VALUE_RULES[kind], [FieldError("value", VALUE_RULES[kind])]) from error


@pages.get("/runs/{run_id}/changes")
def changes_card(run_id: str, request: Request, parts: PartsDep) -> Response:
    """Render the changes and marks of a run."""
    if not wants_fragment(request):
        return RedirectResponse(f"/runs/{run_id}#control", 303)
    return parts.templates.fragment(request, "_run_changes.html", **control_context(parts, run_id))


@pages.get("/runs/{run_id}/control")
def control_card(run_id: str, request: Request, parts: PartsDep) -> Response:
    """Render the controls that change a running run."""
    if not wants_fragment(request):
        return RedirectResponse(f"/runs/{run_id}#control", 303)
    return parts.templates.fragment(request, "_run_control_forms.html", **control_context(parts, run_id))
