"""Changing a run while it trains: what can be asked for, and how it comes to the trainer.

The row is the truth. The worker that holds the run is nudged, and told again with every heartbeat until it is done.
"""

from __future__ import annotations

import math
import time
from typing import Any

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.events import Asked, ChangeKind
from app.contract.spec import FieldError, RunConfig
from app.services import signals
from app.store import live_change
from app.store import run as run_store
from app.store.database import next_commit, reading, writing
from app.store.live_change import MOST_WAITING, ChangeRecord
from app.store.run import RunRecord
from app.web.dependencies import Parts

MOST_EPOCHS = 100_000
FACTORS = (1e-6, 1e6)
LONGEST_NOTE = 300
VALUE_RULES: dict[ChangeKind, str] = {
    "stop_after_epoch": "a stop after the epoch has no value",
    "epochs": f"the number of epochs must be a whole number, 1 to {MOST_EPOCHS:,}",
    "lr_factor": f"the factor must be a number like 0.3, from {FACTORS[0]:.6f} to {FACTORS[1]:,.0f}",
    "checkpoint": "a checkpoint has no value",
    "note": f"the note must be a text of 1 to {LONGEST_NOTE} characters",
}


def request_change(parts: Parts, run_id: str, kind: ChangeKind, value: Any, via: str) -> ChangeRecord:
    """Ask for a change of a run. Raises NotFound, Invalid, and Conflict where it trains no more."""
    value = read_value(kind, value)
    now = time.time()
    with writing(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        if refusal := refusal_reason(record):
            raise Conflict(refusal)
        waiting = [each for each in live_change.changes_of(connection, run_id) if each.state == "waiting"]
        if len(waiting) >= MOST_WAITING:
            raise Conflict(f"{MOST_WAITING} changes of this run wait already; it has to come to them first")
        commit = next_commit(connection)
        made = live_change.add(connection, run_id, kind, value, via, now)
        found = live_change.changes_of(connection, run_id)
        asked = Asked(
            run=run_id, changes=[c for each in live_change.waiting(connection, [run_id]) for c in each.changes]
        )
    signals.nudge_changes(parts.redis, asked)
    signals.announce(parts.redis, commit, run_id, "mark")
    return next(each for each in found if each.id == made)


def refusal_reason(run: RunRecord) -> str:
    """Why a run cannot be changed now; blank where it can."""
    if run.logged:
        return "this run is trained elsewhere, and only its own script can change it"
    if run.row.get("origin"):  # of one that was not launched here
        return "this run is trained elsewhere, by a script of its own, and cannot be changed from here"
    if not run.live:
        return f"this run is {run.status}: what has ended is not changed any more; resume, extend or fork it instead"
    if run.status == "cancelling":
        return "this run is being stopped, and cannot be changed any more"
    if run.status == "finishing":
        return "this run is trained and being tested, so that nothing of it can be changed any more"
    return ""


def read_value(kind: ChangeKind, value: Any) -> int | float | str | None:
    """The value of a change, checked. Raises Invalid."""
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
                # Half of a surrogate pair cannot be written down.
                return value.strip().encode("utf-8", "replace").decode()
        case _:
            if value is None:
                return None
    raise Invalid(VALUE_RULES[kind], [FieldError("value", VALUE_RULES[kind])])


def meaning(kind: str, config: RunConfig) -> str:
    """What a change does to the rest of the run, in a sentence."""
    named = config.schedule.replace("_", " ")
    bends = config.schedule in ("cosine", "one_cycle") or config.warmup > 0
    match kind:
        case "epochs":
            rate = (
                f"The {named} schedule is that of the new number of epochs from then on: the learning rate goes on"
                " where a run of so many has it."
                if bends
                else "The learning rate goes on as it is."
            )
            return f"Fewer than are done end it with the epoch in training. {rate}"
        case "lr_factor":
            return f"Every learning rate of the {named} schedule is multiplied by it from then on."
        case "stop_after_epoch":
            return "It ends with the epoch in training and is tested; its learning rate stays as it was planned."
        case "checkpoint":
            return "It is saved before the next step, to go on from, with a copy that stays."
        case "stop":
            return "It was stopped before its next step, and saved."
    return "It is marked on the curves at the step that is being made."


def read_changes(parts: Parts, run_id: str) -> tuple[RunRecord, list[ChangeRecord], list[live_change.Mark]]:
    """A run, its changes, and the marks on its curves by step. Raises NotFound."""
    with reading(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        marks = [*live_change.marks_of(connection, run_id), *live_change.forks_of(connection, run_id)]
        return (
            record,
            live_change.changes_of(connection, run_id),
            sorted(marks, key=lambda each: (each.step, each.time)),
        )
