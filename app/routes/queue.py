"""/queue: the queued runs with their order, expected start and reason for waiting; reorder, pause, cancel."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json
from sqlalchemy import Connection, bindparam, text

from app.actions.bulk import cancel_many, edit_run, move_run, restore_many, set_paused
from app.contract.errors import Invalid
from app.contract.spec import FieldError
from app.contract.timestamps import iso
from app.store.bulk import RunSelection, restorable
from app.store.database import reading
from app.store.duration_estimate import NO_WORKER, Estimate, estimate_page
from app.store.queue import Move, QueuePage, read_queue
from app.store.run import RunRecord
from app.store.turn import QueueRules
from app.store.waiting_reason import why_waiting
from app.store.worker import WorkerRecord, list_workers
from app.web.dependencies import Parts, PartsDep
from app.web.numbers import Count, Timestamp
from app.web.redirects import go_back
from app.web.rendering import wants_fragment

api = APIRouter(tags=["queue"])
pages = APIRouter()

PAGE_ROWS = 40


@dataclass(frozen=True)
class QueueRow:
    """A queued run with its position, the reason why it waits, and its expected start and duration.

    ``is_first`` and ``is_last``: of the runs among which it moves.
    """

    run: RunRecord
    position: int
    why: str
    expected: Estimate
    in_seconds: float | None
    parent_number: int | None = None
    is_first: bool = False
    is_last: bool = False

    @property
    def start(self) -> float | None:
        """The expected start, rounded so that it does not jitter between refreshes."""
        if self.expected.start is None or self.in_seconds is None:
            return None
        step = 60 if self.in_seconds > 600 else 10 if self.in_seconds > 60 else 1
        return round(self.expected.start / step) * step


def queue_rows(
    connection: Connection, workers: list[WorkerRecord], limit: int, rules: QueueRules, after: str | None = None
) -> tuple[list[QueueRow], QueuePage]:
    """Return a page of the queue with reasons and expectations. Raises QueryError."""
    now = time.time()
    page = read_queue(connection, limit, after, rules)
    rows = []
    numbers = _numbers(connection, [run.row["parent"] for run in page.runs if run.row["parent"]])
    estimates = estimate_page(connection, page, workers, now, rules)
    for i, (run, expected) in enumerate(zip(page.runs, estimates, strict=True)):
        position = page.first + i
        why = why_waiting(run, position - 1, workers, page.stopped, expected.held)
        if expected.start_why == NO_WORKER:
            expected = replace(expected, start_why=why)
        in_seconds = None if expected.start is None else max(0.0, expected.start - now)
        ends = position == 1, position == page.total
        if page.turns is not None:
            ends = page.turns.ends(run.row["priority"], run.row["created_by"], position - 1)
        rows.append(QueueRow(run, position, why, expected, in_seconds, numbers.get(run.row["parent"]), *ends))
    return rows, page


def _numbers(connection: Connection, runs: list[str]) -> dict[str | None, int]:
    """Return the numbers of runs by ID, including runs in the trash."""
    query = text("SELECT id, number FROM run WHERE id IN :runs").bindparams(bindparam("runs", expanding=True))
    return {row.id: row.number for row in connection.execute(query, {"runs": runs})} if runs else {}


# The API -------------------------------------------------------------------------------------------------------------


class QueuedRunOut(BaseModel):
    """A queued run in short; /api/v1/runs/{id} returns all fields."""

    id: str
    number: int
    url: str
    title: str
    status: str
    family: str
    size: str
    dataset: str
    epochs: int
    batch_size: int
    seed: int
    device: str
    worker: str
    priority: int
    attempt: int
    parent: str | None
    relation: str
    sweep: str | None
    created: str
    created_by: str = ""


class WaitingOut(BaseModel):
    """Position (1 is next), reason, expected start (ISO 8601, UTC) and duration in seconds; null if unknown.

    ``start_why``: why the start is unknown. ``estimate``: what the duration is based on, or why it is unknown.
    """

    run: QueuedRunOut
    position: int
    why: str
    expected_start: str | None
    start_why: str
    expected_seconds: float | None
    estimate: str


class QueueOut(BaseModel):
    """A page of the queue, in order; pass ``next`` as ``after`` to get the following page.

    ``in_turn``: runs of several people wait, who take turns. ``held``: why Runyard itself starts no run, such as a full
    disk; "" if it does.
    """

    paused: bool
    paused_since: str | None
    held: str
    total: int
    next: str | None
    in_turn: bool = False
    runs: list[WaitingOut]


class PausedOut(BaseModel):
    paused: bool


class PositionOut(BaseModel):
    position: int


class MoveIn(BaseModel):
    """A queued run and its new position: ``to``, or directly ``before`` or ``after`` another queued run."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"run": "r_…", "to": "first"}]})

    run: str
    to: Move | None = None
    before: str | None = None
    after: str | None = None


@api.get("/queue", response_model=QueueOut)
def get_queue(
    parts: PartsDep,
    limit: Annotated[int, Query(ge=1, le=500)] = PAGE_ROWS,
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> Response:
    """List the queued runs in the order in which they start."""
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        rows, page = queue_rows(connection, workers, limit, QueueRules.of(parts.settings), after)
    body = {
        "paused": page.paused_at is not None,
        "paused_since": iso(page.paused_at),
        "held": page.held,
        "total": page.total,
        "next": page.next,
        "in_turn": page.turns is not None,
        "runs": [_as_json(row) for row in rows],
    }
    return Response(to_json(body), media_type="application/json")


COPIED_FIELDS = (
    *("id", "number", "status", "family", "size", "dataset", "epochs", "batch_size", "seed", "priority", "attempt"),
    *("parent", "relation", "sweep", "created_by"),
)


def _as_json(row: QueueRow) -> dict[str, Any]:
    run, config = row.run.row, row.run.config
    return {
        "run": {name: run[name] for name in COPIED_FIELDS}
        | {
            "url": f"/runs/{run['id']}",
            "title": config.title,
            "device": run["device_wanted"],
            "worker": run["worker_wanted"],
            "created": iso(run["created_at"]),
        },
        "position": row.position,
        "why": row.why,
        "expected_start": iso(row.expected.start),
        "start_why": row.expected.start_why,
        "expected_seconds": row.expected.seconds,
        "estimate": row.expected.estimate,
    }


@api.post("/queue/pause")
def post_pause(parts: PartsDep) -> PausedOut:
    """Pause the queue: no new run starts until it is resumed; active runs continue."""
    set_paused(parts, True)
    return PausedOut(paused=True)


@api.post("/queue/resume")
def post_resume(parts: PartsDep) -> PausedOut:
    """Resume the queue."""
    set_paused(parts, False)
    return PausedOut(paused=False)


@api.post("/queue/move")
def post_move(move: MoveIn, parts: PartsDep) -> PositionOut:
    """Move a queued run. If its priority does not allow the new position, it takes the priority of its neighbors.

    While people take turns, it moves among the runs of its person.
    """
    if sum(position is not None for position in (move.to, move.before, move.after)) != 1:
        sentence = "specify exactly one of to, before and after"
        raise Invalid(sentence, [FieldError("to", sentence)])
    return PositionOut(position=move_run(parts, move.run, move.to, move.before, move.after))


# The page ------------------------------------------------------------------------------------------------------------

BackForm = Annotated[str, Form(max_length=4000)]
Act = Literal["first", "last", "up", "down", "before", "after", "priority", "cancel"]


@pages.get("/queue")
def queue_page(
    request: Request,
    parts: PartsDep,
    after: Annotated[str | None, Query(max_length=500)] = None,
    undo: Timestamp = 0.0,
    back_again: Count = 0,
    stopped: Count = 0,
) -> HTMLResponse:
    """Show the queue; htmx gets only the part that changes."""
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        rows, page = queue_rows(connection, workers, PAGE_ROWS, QueueRules.of(parts.settings), after or None)
        undoable = len(restorable(connection, undo)) if undo else 0
    values: dict[str, Any] = {
        "rows": rows,
        "page": page,
        "after": after or "",
        "here": f"/queue?{urlencode({'after': after})}" if after else "/queue",
        "workers": workers,
        "undo": undo,
        "undoable": undoable,
        "back_again": back_again,
        "stopped": stopped,
    }
    if wants_fragment(request):
        return parts.templates.fragment(request, "_queue.html", **values)
    return parts.templates.page(request, "queue.html", **values)


@pages.post("/queue/act")
def act_on_run(
    parts: PartsDep,
    run: Annotated[str, Form(max_length=100)],
    act: Annotated[Act, Form()],
    other: Annotated[str, Form(max_length=100)] = "",
    priority: Annotated[int | None, Form(ge=-1000, le=1000)] = None,
    back: BackForm = "/queue",
) -> RedirectResponse:
    """Handle a row's button, or a drop next to an ``other`` row."""
    match act:
        case "cancel":
            return _stop(parts, RunSelection(runs=[run]), back)
        case "priority":
            edit_run(parts, run, {"priority": priority or 0})
        case "before":
            move_run(parts, run, None, before=other)
        case "after":
            move_run(parts, run, None, after=other)
        case _:
            move_run(parts, run, act)
    return go_back(back, "/queue")


@pages.post("/queue/cancel")
def cancel_runs(
    parts: PartsDep,
    runs: Annotated[list[str], Form(max_length=1000)] = [],
    all_of_them: Annotated[bool, Form(alias="all")] = False,
    back: BackForm = "/queue",
) -> RedirectResponse:
    """Cancel the selected runs, or all queued runs."""
    selection = RunSelection(queued=True) if all_of_them else RunSelection(runs=list(dict.fromkeys(runs)))
    return _stop(parts, selection, back)


def _stop(parts: Parts, which: RunSelection, back: str) -> RedirectResponse:
    done = cancel_many(parts, which)
    return go_back(back, "/queue", undo=repr(done.at) if done.cancelled else "", stopped=len(done.stopping))


@pages.post("/queue/restore")
def restore_runs(parts: PartsDep, undo: Annotated[Timestamp, Form()], back: BackForm = "/queue") -> RedirectResponse:
    """Undo a cancel: runs that had not started return to their old positions in the queue."""
    with reading(parts.engine) as connection:
        runs = restorable(connection, undo)
    made = restore_many(parts, runs) if runs else []
    # A restored run is a new run with a different page.
    page = {f"/runs/{old}": f"/runs/{new}" for old, new in made}
    return go_back(page.get(back, back), "/queue", back_again=len(made))


@pages.post("/queue/pause")
def pause_queue(parts: PartsDep, back: BackForm = "/queue") -> RedirectResponse:
    """Pause the queue."""
    set_paused(parts, True)
    return go_back(back, "/queue")


@pages.post("/queue/resume")
def resume_queue(parts: PartsDep, back: BackForm = "/queue") -> RedirectResponse:
    """Resume the queue."""
    set_paused(parts, False)
    return go_back(back, "/queue")
