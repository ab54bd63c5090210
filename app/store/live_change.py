"""Where what users change of a run while it trains lives, and the marks of what has happened on its curves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, Index, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.events import Change, Changed, PendingChanges

MOST_WAITING = 20
"""Changes of a run that can wait at once: as many as the pipe to its trainer holds in any case."""
MOST_WARNINGS = 50
OF_TRAINING = ("lr_factor", "epochs", "stop_after_epoch")
"""Changes without which a run that is trained again comes out otherwise."""
LATE = "the run ended before it could be done"


class RunChange(SQLModel, table=True):
    """A change of a run: waiting, applied or refused. ``value`` is JSON; ``via`` how it was asked for.

    ``epochs``: how many the run had in all from there on. ``inherited``: it was made to the run that this one goes on
    from, before the step at which it does, so that no trainer is told of it.
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
    """Something that happened at a step of a run: checkpoint, best, warning, restart, change or note."""

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
    """A row of ``run_change`` with its value read; ``state`` can also be late."""

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
    def words(self) -> str:
        """What it is, in a few words."""
        return in_words(self.kind, self.value)


def in_words(kind: str, value: Any) -> str:
    """What a change is, in a few words."""
    match kind:
        case "lr_factor":
            return f"learning rate × {value:g}"
        case "epochs":
            return f"{value:,} epoch{'s' if value != 1 else ''}"
        case "stop_after_epoch":
            return "stop after this epoch"
        case "checkpoint":
            return "checkpoint now"
        case "stop":
            return "stop now"
    return str(value)


def add(connection: Connection, run: str, kind: str, value: Any, via: str, now: float) -> int:
    """Ask for a change; returns its id."""
    row = {"run": run, "kind": kind, "value": to_json(value).decode(), "via": via, "now": now}
    made = connection.execute(
        text(
            "INSERT INTO run_change (run, kind, value, state, reason, via, asked_at, inherited)"
            " VALUES (:run, :kind, :value, 'waiting', '', :via, :now, :no) RETURNING id"
        ),
        row | {"no": False},
    )
    return int(made.scalar_one())


def changes_of(connection: Connection, run: str) -> list[ChangeRecord]:
    """Every change of a run, in the order in which they were asked for; what waits when the run has ended is late."""
    columns = ", ".join(f"c.{name}" for name in ChangeRecord.__dataclass_fields__)
    found = connection.execute(
        text(
            f"SELECT {columns}, r.ended_at FROM run_change c JOIN run r ON r.id = c.run"
            " WHERE c.run = :run ORDER BY c.id"
        ),
        {"run": run},
    )
    records = []
    for row in found.mappings():
        said = dict(row) | {"value": from_json(row["value"]), "inherited": bool(row["inherited"])}
        ended = said.pop("ended_at")
        if said["state"] == "waiting" and ended is not None:
            said |= {"state": "late", "reason": LATE, "settled_at": ended, "step": None}
        records.append(ChangeRecord(**said))
    return records


def to_train(connection: Connection, run: str) -> list[Change]:
    """What an attempt at a run is given: what was changed of it so far, and what waits."""
    return [
        Change(
            id=each.id,
            kind=each.kind,
            value=each.value,
            step=each.step,
            epochs=each.epochs,
            applied=each.state == "applied",
        )
        for each in changes_of(connection, run)
        if each.state in ("waiting", "applied") and not each.inherited
    ]


_WAITING = text("SELECT DISTINCT run FROM run_change WHERE state = 'waiting' AND run IN :runs").bindparams(
    bindparam("runs", expanding=True)
)


def waiting(connection: Connection, runs: Iterable[str]) -> list[PendingChanges]:
    """Of these runs, those that are to be changed, and what of them."""
    wanted = list(runs)
    found = connection.execute(_WAITING, {"runs": wanted}).scalars().all() if wanted else []
    return [
        PendingChanges(run=run, changes=[each for each in to_train(connection, run) if not each.applied])
        for run in sorted(found)
    ]


def settle(connection: Connection, run: str, said: Changed, commit: int, now: float) -> bool:
    """A trainer has made a change, or refused to; False where that was known."""
    row = connection.execute(
        text(
            "UPDATE run_change SET state = :outcome, step = :step, epochs = :epochs, reason = :reason,"
            " settled_at = :now WHERE id = :id AND run = :run AND state = 'waiting' RETURNING kind, value"
        ),
        said.model_dump() | {"run": run, "now": now},
    ).one_or_none()
    if row is None:
        return False
    kind = "note" if row.kind == "note" else "change"
    words = in_words(row.kind, from_json(row.value))
    if said.outcome == "refused":
        words = f"{words}: refused, {said.reason}"
    elif row.kind == "epochs" and said.epochs != from_json(row.value):
        words = f"{words}, so that it ends with epoch {said.epochs}"
    elif row.kind == "stop_after_epoch":
        words = f"to stop after epoch {said.epochs}"
    mark(connection, run, kind, said.step, words, commit, now)
    return True


def stopped(connection: Connection, run: str, commit: int, now: float) -> None:
    """A run was stopped at the step of its last checkpoint: that is a change too, the last one."""
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


def course(changes: Iterable[ChangeRecord], epochs: int) -> tuple[int, int]:
    """After how many epochs a run of so many ends with these changes, and over how many its schedule stretches."""
    ends = planned = epochs
    for each in sorted(changes, key=lambda one: (one.step or 0, one.id)):
        if each.state != "applied" or each.epochs is None or each.inherited:
            continue
        if each.kind == "epochs":
            ends = planned = each.epochs
        elif each.kind == "stop_after_epoch":
            ends = each.epochs
    return ends, planned


def inherit(connection: Connection, parent: str, child: str, step: int, commit: int, whole: bool) -> None:
    """A run goes on from a step of another: show in it what was changed and happened up to there.

    whole: all of it; otherwise what the other had inherited itself.
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


def repeat(connection: Connection, run: str, again: str, begun: bool) -> None:
    """A run is trained again to be compared: change it at the same steps.

    begun: from the checkpoint that the run began with itself, which has in it what the run inherited.
    """
    for each in changes_of(connection, run):
        begun_with = each.inherited and begun
        if each.state != "applied" or each.kind not in OF_TRAINING or begun_with:
            continue
        row = {"run": again, "kind": each.kind, "value": to_json(each.value).decode(), "no": False}
        connection.execute(
            text(
                "INSERT INTO run_change (run, kind, value, state, step, epochs, reason, via, asked_at, inherited)"
                " VALUES (:run, :kind, :value, 'waiting', :step, :epochs, '', 'the rerun', :at, :no)"
            ),
            row | {"step": each.step, "epochs": each.epochs, "at": each.asked_at},
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


def mark(connection: Connection, run: str, kind: str, step: int, words: str, commit: int, now: float) -> None:
    """Remember what happened at a step; of a run there is one best, and one checkpoint of a step.

    A best that moves stays the same mark: who has chosen it goes with it.
    """
    values = {"run": run, "kind": kind, "step": step, "text": words, "commit": commit, "now": now}
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


def warn(connection: Connection, run: str, words: str, commit: int, now: float) -> bool:
    """Mark a warning where the run is now; each wording once, and not more than ``MOST_WARNINGS``."""
    known = connection.execute(
        text("SELECT text FROM run_mark WHERE run = :run AND kind = 'warning'"), {"run": run}
    ).scalars()
    said = words.strip().splitlines()[0][:200] if words.strip() else ""
    heard = set(known)
    if not said or said in heard or len(heard) >= MOST_WARNINGS:
        return False
    progress = connection.execute(text("SELECT progress FROM run WHERE id = :run"), {"run": run}).scalar_one()
    mark(connection, run, "warning", int(from_json(progress).get("step") or 0), said, commit, now)
    return True


def cut(connection: Connection, run: str, step: int) -> None:
    """A run goes on from a step: what it did after that it does again."""
    connection.execute(
        text("DELETE FROM run_mark WHERE run = :run AND step > :step AND kind IN ('checkpoint', 'best')"),
        {"run": run, "step": step},
    )


def marks_of(connection: Connection, run: str, after_commit: int = 0) -> list[Mark]:
    """The marks of a run that were made after a commit, by step."""
    found = connection.execute(
        text(
            "SELECT id, kind, step, time, text FROM run_mark WHERE run = :run AND commit_number > :after"
            " ORDER BY step, id"
        ),
        {"run": run, "after": after_commit},
    )
    return [Mark(*row) for row in found]


def forks_of(connection: Connection, run: str) -> list[Mark]:
    """Where this run begins on another, and where others go on from it, as marks; their ids are below 0."""
    found = connection.execute(
        text(
            "SELECT c.number, c.relation, c.parent_step AS step, c.created_at AS time, c.id = :run AS own,"
            " p.number AS of FROM run c LEFT JOIN run p ON p.id = c.parent"
            " WHERE (c.parent = :run OR c.id = :run) AND c.parent_step IS NOT NULL AND c.deleted_at IS NULL"
            " ORDER BY c.number LIMIT 200"
        ),
        {"run": run},
    )
    does = {"fork": "forks", "extend": "is extended", "resume": "goes on", "verify": "is trained again"}
    return [
        Mark(
            -row.number,
            "fork",
            row.step,
            row.time,
            f"begins here, from #{row.of}"
            if row.own
            else f"#{row.number} {does.get(row.relation, 'goes on')} from here",
        )
        for row in found
    ]
