"""Storage of sweeps: their specification, progress, and runs ranked by the sweep's metric."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.command import CommandRequest, command_title
from app.contract.program_sweep import ProgramTemplate
from app.contract.sweep import SEED, Direction, SweepSpec
from app.store.author import AUTHOR
from app.store.curve import larger_is_better
from app.store.database import rows
from app.store.queue import find_place, position_of
from app.store.run import ACTIVE, OWNED, TERMINAL, new_id
from app.store.turn import PLAIN, QUEUE_ORDER, WAITS, QueueRules, read_turns

STATES = ("running", "finished", "stopped")
PRUNED = "pruned"
"""Prefix of the ``stop_reason`` of runs that were stopped because other runs did better."""


class Sweep(SQLModel, table=True):
    """One sweep; ``spec`` is the JSON of its specification and what was derived from it, see SweepRecord.

    ``planned``: the total number of runs. ``status``: running, finished or stopped.
    """

    __tablename__ = "sweep"

    id: str = Field(primary_key=True)
    number: int = Field(unique=True)
    name: str = ""
    status: str = Field(index=True)
    reason: str = ""
    spec: str
    planned: int
    created_at: float
    ended_at: float | None = None
    idempotency_key: str | None = Field(None, unique=True)
    created_by: str = Field("", sa_column_kwargs={"server_default": ""})


@dataclass
class SweepRecord:
    """A row of ``sweep`` with its JSON parsed.

    ``left_out``: combinations that do not exist, one sentence each. ``families``: the catalog entries with which a
    search resolves its proposals, so that it needs no other process. ``template``: the request for its runs, if they
    execute a command or a program, as JSON.
    """

    id: str
    number: int
    name: str
    status: str
    reason: str
    planned: int
    created_at: float
    ended_at: float | None
    asked: dict[str, Any]
    left_out: list[str] = field(default_factory=list)
    families: dict[str, Any] = field(default_factory=dict)
    template: dict[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> CommandRequest | None:
        """The request for its runs, whose command has placeholders; None if they execute no such command."""
        return CommandRequest.model_validate(self.template) if "command" in self.template else None

    @property
    def program(self) -> ProgramTemplate | None:
        """The program that its runs execute, and what they have in common; None if they execute none."""
        return ProgramTemplate.model_validate(self.template) if "program" in self.template else None

    @property
    def spec(self) -> SweepSpec:
        """The specification as requested."""
        return SweepSpec.model_validate(self.asked)

    @property
    def contents(self) -> dict[str, Any]:
        """The JSON stored in its row."""
        return {
            "asked": self.asked,
            "left_out": self.left_out,
            "families": self.families,
            "template": self.template,
        }

    @property
    def fields(self) -> list[str]:
        """The fields that it varies, in the order given, without the seed."""
        named = [*self.asked.get("grid", {}), *self.asked.get("space", {})]
        base = self.asked.get("base", {})
        return [name for name in ("family", "size") if base.get(name) == "all"] + [n for n in named if n != SEED]

    @property
    def title(self) -> str:
        """Its name, or its command, or its program and the fields that it varies."""
        if self.command is not None and not self.name:
            return command_title(self.command.command.argv)
        fields = [name.removeprefix("option.").replace("_", " ") for name in self.fields]
        varied = " × ".join(fields) or "seeds"
        return self.name or (f"{self.program.program.name} · {varied}" if self.program is not None else varied)


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep: ``values`` are the values chosen for it, ``value`` its best value of the sweep's metric."""

    id: str
    number: int
    status: str
    reason: str
    pruned: bool
    title: str
    dataset: str
    seed: int
    epochs: int
    values: dict[str, Any]
    started_at: float | None
    trained_seconds: float | None
    ended_at: float | None
    metric: str | None
    value: float | None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status in TERMINAL

    @property
    def configuration(self) -> str:
        """A key shared by runs that differ only in their seed."""
        return key_of(self.values)


def key_of(values: dict[str, Any]) -> str:
    """Encode the chosen values, without the seed, as one string."""
    return json.dumps({name: value for name, value in values.items() if name != SEED}, sort_keys=True)


def direction_of(metric: str, direction: str | None) -> Direction:
    """Which direction of a metric is better: as given, otherwise derived from its name."""
    if direction in ("maximize", "minimize"):
        return "maximize" if direction == "maximize" else "minimize"
    return "maximize" if larger_is_better(metric) else "minimize"


# Writing -------------------------------------------------------------------------------------------------------------


def insert_sweep(
    connection: Connection, name: str, contents: dict[str, Any], planned: int, now: float, key: str | None = None
) -> str:
    """Add a running sweep; returns its id. ``contents``: asked, left_out, families and template of its record."""
    sweep = new_id(now, "s")
    number = connection.execute(text("SELECT coalesce(max(number), 0) + 1 FROM sweep")).scalar_one()
    row = Sweep(
        id=sweep,
        number=number,
        name=name,
        status="running",
        spec=json.dumps(contents),
        planned=planned,
        created_at=now,
        idempotency_key=key,
        created_by=AUTHOR.get(),
    ).model_dump()
    connection.execute(text(f"INSERT INTO sweep ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)
    return sweep


def find_by_key(connection: Connection, key: str) -> str | None:
    """The sweep created with this Idempotency-Key."""
    sweep = connection.execute(text("SELECT id FROM sweep WHERE idempotency_key = :key"), {"key": key}).scalar()
    return None if sweep is None else str(sweep)


def settle_sweep(connection: Connection, sweep: str, status: str, now: float, reason: str = "") -> bool:
    """End a running sweep; False if it is not running."""
    changed = connection.execute(
        text(
            "UPDATE sweep SET status = :status, reason = :reason, ended_at = :now WHERE id = :id AND status = 'running'"
        ),
        {"id": sweep, "status": status, "reason": reason, "now": now},
    )
    return changed.rowcount == 1


def continue_sweep(connection: Connection, sweep: str, contents: dict[str, Any], planned: int) -> None:
    """Update a sweep's specification and let it run, again if it had ended."""
    connection.execute(
        text(
            "UPDATE sweep SET status = 'running', reason = '', ended_at = NULL, spec = :spec, planned = :planned"
            " WHERE id = :id"
        ),
        {"id": sweep, "spec": json.dumps(contents), "planned": planned},
    )


# Reading -------------------------------------------------------------------------------------------------------------

_COLUMNS = "id, number, name, status, reason, spec, planned, created_at, ended_at"


def _record(row: dict[str, Any]) -> SweepRecord:
    contents = from_json(row.pop("spec"))
    return SweepRecord(**row, **contents)


def load_sweep(connection: Connection, sweep: str) -> SweepRecord | None:
    """The sweep with this id."""
    result = connection.execute(text(f"SELECT {_COLUMNS} FROM sweep WHERE id = :id"), {"id": sweep})
    return next((_record(row) for row in rows(result)), None)


def list_sweeps(connection: Connection, limit: int, before: int | None = None) -> list[SweepRecord]:
    """Sweeps with a number below ``before``, newest first."""
    result = connection.execute(
        text(f"SELECT {_COLUMNS} FROM sweep WHERE number < :before ORDER BY number DESC LIMIT :limit"),
        {"before": 2**53 if before is None else before, "limit": limit},
    )
    return [_record(row) for row in rows(result)]


def running_sweeps(connection: Connection) -> list[SweepRecord]:
    """Sweeps that still have runs to create or to wait for, oldest first."""
    result = connection.execute(text(f"SELECT {_COLUMNS} FROM sweep WHERE status = 'running' ORDER BY number"))
    return [_record(row) for row in rows(result)]


@dataclass(frozen=True)
class Counts:
    """Number of runs of a sweep by state; ``pruned`` counts cancelled runs that were outperformed."""

    states: dict[str, int]
    pruned: int = 0

    @property
    def made(self) -> int:
        """Number of runs created."""
        return sum(self.states.values())

    @property
    def ended(self) -> int:
        """Number of runs that have ended."""
        return sum(count for state, count in self.states.items() if state in TERMINAL)


_COUNTS = text(
    f"SELECT sweep, status, count(*), sum(CASE WHEN status = 'cancelled' AND stop_reason LIKE '{PRUNED}%' THEN 1"
    " ELSE 0 END) FROM run WHERE sweep IN :sweeps AND deleted_at IS NULL GROUP BY sweep, status"
).bindparams(bindparam("sweeps", expanding=True))


def count_runs(connection: Connection, sweeps: list[str]) -> dict[str, Counts]:
    """Run counts of these sweeps."""
    states: dict[str, dict[str, int]] = {sweep: {} for sweep in sweeps}
    pruned = dict.fromkeys(sweeps, 0)
    for sweep, status, number, pruned_count in connection.execute(_COUNTS, {"sweeps": sweeps}) if sweeps else ():
        states[sweep][status] = int(number)
        pruned[sweep] += int(pruned_count)
    return {sweep: Counts(states[sweep], pruned[sweep]) for sweep in sweeps}


def count_ahead(connection: Connection, sweep: str, rules: QueueRules = PLAIN) -> int:
    """Number of other runs that are ahead of this sweep's first queued run.

    Active runs count too while none of this sweep's is active, since it waits for their slots.
    """
    first = connection.execute(_FIRST_QUEUED, {"sweep": sweep}).scalar()
    place = None if first is None else find_place(connection, str(first))
    if place is None:
        return 0
    # No other run of this sweep is ahead of its first one: they are of one person.
    ahead = position_of(connection, place, read_turns(connection, rules)) - 1
    return ahead + int(connection.execute(_BUSY, {"sweep": sweep}).scalar_one())


_FIRST_QUEUED = text(f"SELECT id FROM run WHERE sweep = :sweep AND {WAITS} ORDER BY {QUEUE_ORDER} LIMIT 1")
_BUSY = text(
    f"SELECT count(*) FROM run WHERE deleted_at IS NULL AND (sweep IS NULL OR sweep <> :sweep) AND status IN {ACTIVE}"
    f" AND {OWNED} AND NOT EXISTS (SELECT 1 FROM run WHERE sweep = :sweep AND status IN {ACTIVE})"
)


_RUNS = text(
    "SELECT id, number, status, reason, stop_reason, name, family, size, dataset, seed, epochs, sweep_values,"
    " started_at, ended_at, trained_seconds FROM run WHERE sweep = :sweep AND deleted_at IS NULL ORDER BY number"
)
_FIGURES = text(
    "SELECT s.run, s.name, s.low, s.high FROM metric_series s JOIN run r ON r.id = s.run"
    " WHERE r.sweep = :sweep AND r.deleted_at IS NULL AND (s.name = :metric OR s.name LIKE :heads) ORDER BY s.id"
)


def read_runs(connection: Connection, sweep: str, metric: str, direction: Direction) -> list[SweepRun]:
    """Every run of a sweep by number, with its best value; for several heads, the first head's metric is used."""
    stage, _, last = metric.partition("/")
    values = {"sweep": sweep, "metric": metric, "heads": f"{stage}/%/{last}" if last and "/" not in last else metric}
    figures: dict[str, tuple[str, float | None]] = {}
    for run, name, low, high in connection.execute(_FIGURES, values):
        if run not in figures or name == metric:
            figures[run] = (name, high if direction == "maximize" else low)
    runs = []
    for row in rows(connection.execute(_RUNS, {"sweep": sweep})):
        name, value = figures.get(row["id"], (None, None))
        runs.append(
            SweepRun(
                id=row["id"],
                number=row["number"],
                status=row["status"],
                reason=row["reason"],
                pruned=row["status"] == "cancelled" and row["stop_reason"].startswith(PRUNED),
                title=row["name"] or f"{row['family']} {row['size']} · {row['dataset']}",
                dataset=row["dataset"],
                seed=row["seed"],
                epochs=row["epochs"],
                values=from_json(row["sweep_values"]),
                started_at=row["started_at"],
                trained_seconds=row["trained_seconds"],
                ended_at=row["ended_at"],
                metric=name,
                value=value,
            )
        )
    return runs


def best_run(connection: Connection, sweep: str, metric: str, direction: Direction) -> SweepRun | None:
    """The best run of a sweep so far."""
    ranked = best_first(read_runs(connection, sweep, metric, direction), direction)
    return ranked[0] if ranked and ranked[0].value is not None else None


def best_first(runs: list[SweepRun], direction: Direction) -> list[SweepRun]:
    """Sort runs best first; runs without a value come last, in their given order."""
    sign = -1.0 if direction == "maximize" else 1.0
    with_value = [(sign * run.value, run.number, run) for run in runs if run.value is not None]
    return [run for *_, run in sorted(with_value, key=lambda entry: entry[:2])] + [r for r in runs if r.value is None]
