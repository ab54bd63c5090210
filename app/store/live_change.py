"""Storage of live changes: what users change while a run trains, and the marks shown on its curves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Index, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.events import Change, Changed, PendingChanges

MAX_PENDING = 20
"""Maximum number of pending changes of a run, so that all of them fit into the pipe to its trainer."""
MAX_WARNINGS = 50
TRAINING_CHANGES = ("lr_factor", "epochs", "stop_after_epoch")
"""Changes that affect training, which a rerun must repeat to be comparable."""
TOO_LATE = "the run ended before the change was applied"


class RunChange(SQLModel, table=True):
    """A change of a run: waiting, applied or refused. ``value`` is JSON; ``via``: where it was requested.

    ``epochs``: the run's total number of epochs from then on. ``inherited``: the change was made to the parent before
    the step at which this run branched off, so the trainer is not told about it.
    """

    __tablename__ = "run_change"
    __table_args__ = (
        Index(
            "ix_run_change_waiting",
            "run",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
    )

    id: int | None = Field(None, primary_key=True)
    run: str = Field(index=True, foreign_key="run.id", ondelete="CASCADE")
    kind: str
    value: str = "null"
    state: str = "waiting"
    step: int | None = None
    epochs: int | None = None
    reason: str = ""
    via: str = ""
    asked_at: float
    settled_at: float | None = None
    inherited: bool = False


class RunMark(SQLModel, table=True):
    """An event at a step of a run: checkpoint, best, warning, restart, change or note."""

    __tablename__ = "run_mark"

    id: int | None = Field(None, primary_key=True)
    run: str = Field(index=True, foreign_key="run.id", ondelete="CASCADE")
    commit_number: int
    kind: str
    step: int
    time: float
    text: str


# Changes -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChangeRecord:
    """A row of ``run_change`` with its value parsed; ``state`` can also be late."""

    id: int
    kind: str
    value: int | float | str | None
    state: str
    step: int | None
    epochs: int | None
    reason: str
    via: str
    asked_at: float
    settled_at: float | None
    inherited: bool

    @property
    def label(self) -> str:
        """A short description of the change."""
        return describe_change(self.kind, self.value)


def describe_change(kind: str, value: Any) -> str:
    """Describe a change in a few words."""
    match kind:
        case "lr_factor":
            return f"learning rate × {value:g}"
        case "epochs":
            return f"{value:,} epoch{'s' if value != 1 else ''}"
        case "stop_after_epoch":
            return "stop after the epoch"
        case "checkpoint":
            return "checkpoint"
        case "stop":
            return "stop"
    return str(value)


def add(connection: Connection, run: str, kind: str, value: Any, via: str, now: float) -> int:
    """Request a change; returns its id."""
    row = {"run": run, "kind": kind, "value": to_json(value).decode(), "via": via, "now": now}
    made = connection.execute(
        text(
            "INSERT INTO run_change (run, kind, value, state, reason, via, asked_at, inherited)"
            " VALUES (:run, :kind, :value, 'waiting', '', :via, :now, :no) RETURNING id"
        ),
        row | {"no": False},
    )
    return int(made.scalar_one())


def list_changes(connection: Connection, run: str) -> list[ChangeRecord]:
    """Every change of a run in the order of requests; changes still waiting when the run ended are late."""
    columns = ", ".join(f"c.{name}" for name in ChangeRecord.__dataclass_fields__)
    result = connection.execute(
        text(
            f"SELECT {columns}, r.ended_at FROM run_change c JOIN run r ON r.id = c.run"
            " WHERE c.run = :run ORDER BY c.id"
        ),
        {"run": run},
    )
    records = []
    for row in result.mappings():
        values = dict(row) | {"value": from_json(row["value"]), "inherited": bool(row["inherited"])}
        ended = values.pop("ended_at")
        if values["state"] == "waiting" and ended is not None:
            values |= {"state": "late", "reason": TOO_LATE, "settled_at": ended, "step": None}
        records.append(ChangeRecord(**values))
    return records


def changes_for_attempt(connection: Connection, run: str) -> list[Change]:
    """The changes for a new attempt at a run: those applied so far and those pending."""
    return [
        Change(
            id=change.id,
            kind=change.kind,
            value=change.value,
            step=change.step,
            epochs=change.epochs,
            applied=change.state == "applied",
        )
        for change in list_changes(connection, run)
        if change.state in ("waiting", "applied") and not change.inherited
    ]


_WAITING = text("SELECT DISTINCT run FROM run_change WHERE state = 'waiting' AND run IN :runs").bindparams(
    bindparam("runs", expanding=True)
)


def pending_changes(connection: Connection, runs: Iterable[str]) -> list[PendingChanges]:
    """The pending changes of those of these runs that have any."""
    requested = list(runs)
    changed = connection.execute(_WAITING, {"runs": requested}).scalars().all() if requested else []
    changes = {run: changes_for_attempt(connection, run) for run in sorted(changed)}
    return [
        PendingChanges(run=run, changes=[change for change in of_run if not change.applied])
        for run, of_run in changes.items()
    ]


def settle(connection: Connection, run: str, outcome: Changed, commit: int, now: float) -> bool:
    """Record that a trainer applied or refused a change; False if that was recorded before."""
    row = connection.execute(
        text(
            "UPDATE run_change SET state = :outcome, step = :step, epochs = :epochs, reason = :reason,"
            " settled_at = :now WHERE id = :id AND run = :run AND state = 'waiting' RETURNING kind, value"
        ),
        outcome.model_dump() | {"run": run, "now": now},
    ).one_or_none()
    if row is None:
        return False
    kind = "note" if row.kind == "note" else "change"
    label = describe_change(row.kind, from_json(row.value))
    if outcome.outcome == "refused":
        label = f"{label} refused: {outcome.reason}"
    elif row.kind == "epochs" and outcome.epochs != from_json(row.value):
        label = f"{label} requested; ends after epoch {outcome.epochs}"
    elif row.kind == "stop_after_epoch":
        label = f"stop after epoch {outcome.epochs}"
    mark(connection, run, kind, outcome.step, label, commit, now)
    return True


def record_stop(connection: Connection, run: str, commit: int, now: float) -> None:
    """Record a stop as the run's last change, at the step of its last checkpoint."""
    row = connection.execute(text("SELECT checkpoint, stop_reason FROM run WHERE id = :run"), {"run": run}).one()
    if not row.checkpoint:
        return
    step = int(from_json(row.checkpoint)["step"])
    connection.execute(
        text(
            "INSERT INTO run_change (run, kind, value, state, step, reason, via, asked_at, settled_at, inherited)"
            " VALUES (:run, 'stop', 'null', 'applied', :step, :reason, '', :now, :now, :no)"
        ),
        {"run": run, "step": step, "reason": row.stop_reason, "now": now, "no": False},
    )
    mark(connection, run, "change", step, "stopped", commit, now)


def epoch_plan(changes: Iterable[ChangeRecord], epochs: int) -> tuple[int, int]:
    """The epoch after which a run ends with these changes, and the number of epochs its schedule covers."""
    ends = planned = epochs
    for change in sorted(changes, key=lambda change: (change.step or 0, change.id)):
        if change.state != "applied" or change.epochs is None or change.inherited:
            continue
        if change.kind == "epochs":
            ends = planned = change.epochs
        elif change.kind == "stop_after_epoch":
            ends = change.epochs
    return ends, planned


def inherit(connection: Connection, parent: str, child: str, step: int, commit: int, whole: bool) -> None:
    """Copy the changes and marks of the parent up to the step at which a run branches off.

    whole: all changes; otherwise only those that the parent had inherited itself.
    """
    values = {"parent": parent, "child": child, "step": step, "commit": commit, "yes": True, "whole": whole}
    same = "kind, value, state, step, epochs, reason, via, asked_at, settled_at"
    connection.execute(
        text(
            f"INSERT INTO run_change (run, {same}, inherited) SELECT :child, {same}, :yes FROM run_change"
            " WHERE run = :parent AND state = 'applied' AND step <= :step AND (inherited OR :whole) ORDER BY id"
        ),
        values,
    )
    connection.execute(
        text(
            "INSERT INTO run_mark (run, commit_number, kind, step, time, text)"
            " SELECT :child, :commit, kind, step, time, text FROM run_mark"
            " WHERE run = :parent AND step <= :step AND kind IN ('change', 'note', 'warning', 'restart') ORDER BY id"
        ),
        values,
    )


def repeat(connection: Connection, run: str, rerun: str, from_checkpoint: bool) -> None:
    """Give a rerun the same changes at the same steps as the original.

    from_checkpoint: the rerun starts from the original's own first checkpoint, which includes inherited changes.
    """
    for change in list_changes(connection, run):
        already_included = change.inherited and from_checkpoint
        if change.state != "applied" or change.kind not in TRAINING_CHANGES or already_included:
            continue
        row = {"run": rerun, "kind": change.kind, "value": to_json(change.value).decode(), "no": False}
        connection.execute(
            text(
                "INSERT INTO run_change (run, kind, value, state, step, epochs, reason, via, asked_at, inherited)"
                " VALUES (:run, :kind, :value, 'waiting', :step, :epochs, '', 'the rerun', :at, :no)"
            ),
            row | {"step": change.step, "epochs": change.epochs, "at": change.asked_at},
        )


# Marks ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A row of ``run_mark``; ``time`` in seconds since 1970, UTC."""

    id: int
    kind: str
    step: int
    time: float
    text: str


def mark(connection: Connection, run: str, kind: str, step: int, label: str, commit: int, now: float) -> None:
    """Record a mark at a step; a run has at most one best mark, and one checkpoint mark per step.

    When the best moves, its mark keeps its id, so that a selection of it moves along.
    """
    values = {"run": run, "kind": kind, "step": step, "text": label, "commit": commit, "now": now}
    if kind == "best":
        moved = connection.execute(
            text(
                "UPDATE run_mark SET commit_number = :commit, step = :step, time = :now, text = :text"
                " WHERE run = :run AND kind = 'best'"
            ),
            values,
        )
        if moved.rowcount:
            return
    elif kind == "checkpoint":
        connection.execute(
            text("DELETE FROM run_mark WHERE run = :run AND kind = 'checkpoint' AND step = :step"), values
        )
    connection.execute(
        text(
            "INSERT INTO run_mark (run, commit_number, kind, step, time, text)"
            " VALUES (:run, :commit, :kind, :step, :now, :text)"
        ),
        values,
    )


def warn(connection: Connection, run: str, message: str, commit: int, now: float) -> bool:
    """Add a warning at the run's current step; each text once, and at most ``MAX_WARNINGS``."""
    result = connection.execute(
        text("SELECT text FROM run_mark WHERE run = :run AND kind = 'warning'"), {"run": run}
    ).scalars()
    line = message.strip().splitlines()[0][:200] if message.strip() else ""
    known = set(result)
    if not line or line in known or len(known) >= MAX_WARNINGS:
        return False
    progress = connection.execute(text("SELECT progress FROM run WHERE id = :run"), {"run": run}).scalar_one()
    mark(connection, run, "warning", int(from_json(progress).get("step") or 0), line, commit, now)
    return True


def cut(connection: Connection, run: str, step: int) -> None:
    """Remove marks after the step from which a run continues; that part is trained again."""
    connection.execute(
        text("DELETE FROM run_mark WHERE run = :run AND step > :step AND kind IN ('checkpoint', 'best')"),
        {"run": run, "step": step},
    )


def list_marks(connection: Connection, run: str, after_commit: int = 0) -> list[Mark]:
    """Marks of a run added after a commit, by step."""
    result = connection.execute(
        text(
            "SELECT id, kind, step, time, text FROM run_mark WHERE run = :run AND commit_number > :after"
            " ORDER BY step, id"
        ),
        {"run": run, "after": after_commit},
    )
    return [Mark(*row) for row in result]


def list_forks(connection: Connection, run: str) -> list[Mark]:
    """Where this run branched off its parent and where other runs branched off it, as marks with negative ids."""
    result = connection.execute(
        text(
            "SELECT c.number, c.relation, c.parent_step AS step, c.created_at AS time, c.id = :run AS own,"
            " p.number AS of FROM run c LEFT JOIN run p ON p.id = c.parent"
            " WHERE (c.parent = :run OR c.id = :run) AND c.parent_step IS NOT NULL AND c.deleted_at IS NULL"
            " ORDER BY c.number LIMIT 200"
        ),
        {"run": run},
    )
    return [Mark(-row.number, "fork", row.step, row.time, _describe_branch(row)) for row in result]


def _describe_branch(row: Any) -> str:
    if row.relation == "fork":
        return f"forked from #{row.of} here" if row.own else f"#{row.number} was forked here"
    verb = {"extend": "extends", "verify": "reruns"}.get(row.relation, "resumes")
    return f"{verb} #{row.of} from here" if row.own else f"#{row.number} {verb} this run from here"
