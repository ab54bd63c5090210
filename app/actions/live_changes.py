"""Changes of a run while it trains: validation, storage, and delivery to the trainer.

The database row is authoritative. The run's worker is notified at once, and again with every heartbeat until the change
is applied.
"""

from __future__ import annotations

import math
import time
from typing import Any

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.events import ChangeKind, PendingChanges
from app.contract.spec import FieldError, RunConfig
from app.services import pubsub
from app.store import live_change
from app.store import run as run_store
from app.store.database import next_commit, reading, writing
from app.store.live_change import MAX_PENDING, ChangeRecord
from app.store.run import RunRecord
from app.web.dependencies import Parts

MOST_EPOCHS = 100_000
FACTORS = (1e-6, 1e6)
LONGEST_NOTE = 300
VALUE_RULES: dict[ChangeKind, str] = {
    "stop_after_epoch": "stop_after_epoch takes no value",
    "epochs": f"the number of epochs must be a whole number from 1 to {MOST_EPOCHS:,}",
    "lr_factor": f"the factor must be a number from {FACTORS[0]:.6f} to {FACTORS[1]:,.0f}, e.g. 0.3",
    "checkpoint": "checkpoint takes no value",
    "note": f"the note must have 1 to {LONGEST_NOTE} characters",
}


def request_change(parts: Parts, run_id: str, kind: ChangeKind, value: Any, via: str) -> ChangeRecord:
    """Request a change of a run. Raises NotFound, Invalid, and Conflict if it no longer trains."""
    value = read_value(kind, value)
    now = time.time()
    with writing(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        if refusal := refusal_reason(record):
            raise Conflict(refusal)
        waiting = [change for change in live_change.list_changes(connection, run_id) if change.state == "waiting"]
        if len(waiting) >= MAX_PENDING:
            raise Conflict(f"this run already has {MAX_PENDING} pending changes; wait until they are applied")
        commit = next_commit(connection)
        change_id = live_change.add(connection, run_id, kind, value, via, now)
        changes = live_change.list_changes(connection, run_id)
        pending = live_change.pending_changes(connection, [run_id])
        request = PendingChanges(run=run_id, changes=[change for entry in pending for change in entry.changes])
    pubsub.nudge_changes(parts.redis, request)
    pubsub.announce(parts.redis, commit, run_id, "mark")
    return next(change for change in changes if change.id == change_id)


def refusal_reason(run: RunRecord) -> str:
    """Return why a run cannot be changed now; blank if it can."""
    if run.executed:
        return "this run executes a command, which cannot be changed while it runs"
    if run.logged or run.row.get("origin"):
        return "this run is trained by an external script and cannot be changed in Runyard"
    if not run.live:
        return f"this run has ended ({run.status}) and can no longer be changed; resume, extend or fork it instead"
    if run.status == "cancelling":
        return "this run is being stopped and can no longer be changed"
    if run.status == "finishing":
        return "this run has finished training and is being tested, so it can no longer be changed"
    return ""


def read_value(kind: ChangeKind, value: Any) -> int | float | str | None:
    """Validate the value of a change. Raises Invalid."""
    match kind:
        case "epochs":
            whole = isinstance(value, int) and not isinstance(value, bool)
            if whole and 1 <= value <= MOST_EPOCHS:
                return int(value)
        case "lr_factor":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and math.isfinite(value) and FACTORS[0] <= value <= FACTORS[1]:
                return float(value)
        case "note":
            if isinstance(value, str) and 0 < len(value.strip()) <= LONGEST_NOTE:
                # A lone surrogate cannot be stored as UTF-8.
                return value.strip().encode("utf-8", "replace").decode()
        case _:
            if value is None:
                return None
    raise Invalid(VALUE_RULES[kind], [FieldError("value", VALUE_RULES[kind])])


def meaning(kind: str, config: RunConfig) -> str:
    """Return a sentence that explains what a change does to the rest of the run."""
    schedule = config.schedule.replace("_", " ")
    depends_on_length = config.schedule in ("cosine", "one_cycle") or config.warmup > 0
    match kind:
        case "epochs":
            rate = (
                f"The {schedule} schedule is rescaled to the new total: from this step on, the learning rate is that"
                " of a run with the new total."
                if depends_on_length
                else "The learning rate is not affected."
            )
            return f"If the run has already passed the new total, it ends after the current epoch. {rate}"
        case "lr_factor":
            return f"Multiplies the learning rate for the rest of the {schedule} schedule."
        case "stop_after_epoch":
            return (
                "Ends the run after the current epoch and evaluates it on the test set;"
                " the learning-rate schedule does not change."
            )
        case "checkpoint":
            return "Saves a permanent checkpoint before the next step. You can resume from it."
        case "stop":
            return "The run saved a checkpoint and stopped before its next step."
    return "Adds the note to the charts at the current step."


def read_changes(parts: Parts, run_id: str) -> tuple[RunRecord, list[ChangeRecord], list[live_change.Mark]]:
    """Return a run, its changes, and the marks on its curves by step. Raises NotFound."""
    with reading(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        marks = [*live_change.list_marks(connection, run_id), *live_change.list_forks(connection, run_id)]
        return (
            record,
            live_change.list_changes(connection, run_id),
            sorted(marks, key=lambda mark: (mark.step, mark.time)),
        )
