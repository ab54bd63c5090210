"""Storage of runs: the run table, its states, and the allowed transitions."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json
from sqlalchemy import Column, Computed, Connection, Float, Index, TextClause, bindparam, text
from sqlmodel import Field, SQLModel

from app.contract.spec import RunConfig
from app.contract.sweep_label import describe_values
from app.contract.tracked_run import CommandConfig, LoggedConfig
from app.store.author import author_of
from app.store.database import next_commit
from app.store.person_limit import take_room
from app.store.training_time import Intervals, read_intervals

ACTIVE = ("starting", "running", "finishing", "cancelling")
TERMINAL = ("succeeded", "failed", "cancelled")
STATES = ("queued", *ACTIVE, "lost", *TERMINAL)
COMMAND = "command"
"""Value of ``run.origin`` for a run that executes a command (app/store/command.py)."""
OWNED = f"origin IN ('', '{COMMAND}')"
"""Condition for runs that workers train or execute; all others were trained elsewhere."""

# The database rejects every other transition; terminal states have no successor. A lost run, even when queued again,
# may turn out to have ended: its trainer's last events were found in a spool.
TRANSITIONS: dict[str, tuple[str, ...]] = {
    "queued": ("starting", "cancelled", "failed", "succeeded"),
    "starting": ("running", "cancelling", "failed", "cancelled", "lost", "queued"),
    "running": ("finishing", "cancelling", "succeeded", "failed", "cancelled", "lost", "queued"),
    "finishing": ("succeeded", "failed", "cancelled", "cancelling", "lost", "queued"),
    "cancelling": ("cancelled", "failed", "succeeded", "lost"),
    "lost": ("queued", "failed", "cancelled", "succeeded"),
    "succeeded": (),
    "failed": (),
    "cancelled": (),
}


def _listed(*columns: str) -> Index:
    """An index that a listing of the run table reads along."""
    condition = text("deleted_at IS NULL")
    return Index(f"ix_run_listed_{columns[0]}", *columns, sqlite_where=condition, postgresql_where=condition)


def _partial(name: str, condition: str, *columns: str | TextClause) -> Index:
    return Index(f"ix_run_{name}", *columns, sqlite_where=text(condition), postgresql_where=text(condition))


_WAITS = "status = 'queued' AND deleted_at IS NULL"
_IN_ORDER = (text("priority DESC"), "rank", "number", "device_wanted", "worker_wanted")


class Run(SQLModel, table=True):
    """One run. Times are seconds since 1970 (UTC); ``*_commit`` is the commit that last changed that part.

    ``rank`` orders queued runs of the same priority, smallest first. ``stop_reason``: why something other than its user
    stopped it. ``relation``: its relation to ``parent``, one of RELATIONS; ``parent_step``: the parent's step from
    which it continues. ``sweep_values``: the values its sweep chose, by field. ``losses``: how often it was lost since
    it last made progress, which reached ``lost_at_step``. ``origin``: "" for a run that Runyard trains itself, COMMAND,
    or how it got here (app/store/tracked_run.py). ``removed``: when what of it was removed (app/store/removal.py).
    """

    __tablename__ = "run"
    # Each of the first includes the other filter columns, so that SQLite counts and sorts matching runs from the index
    # alone. For the same reason they have the runs in the trash too: a condition would need a look at each row.
    __table_args__ = (
        Index("ix_run_listed_status", "status", "number", "family", "size", "dataset"),
        Index("ix_run_listed_family", "family", "number", "status", "size", "dataset"),
        Index("ix_run_listed_size", "size", "number", "status", "family", "dataset"),
        Index("ix_run_listed_dataset", "dataset", "number", "status", "family", "size"),
        Index("ix_run_number_of_id", "id", "number"),
        *(_listed(column, "number") for column in ("name", "recipe", "seed", "epochs", "batch_size", "lr", "params")),
        *(_listed(column, "number") for column in ("attempt", "created_at", "started_at", "ended_at", "created_by")),
        _listed("trained_seconds", "number"),
        Index(
            "ix_run_trash",
            "deleted_at",
            sqlite_where=text("deleted_at IS NOT NULL"),
            postgresql_where=text("deleted_at IS NOT NULL"),
        ),
        _partial("queue", _WAITS, "status", *_IN_ORDER),
        # People take turns (app/store/turn.py). SQLite looks up a run whose condition the index does not have.
        _partial("turn", _WAITS, "status", "created_by", *_IN_ORDER, "deleted_at"),
        _partial("sweep", "sweep IS NOT NULL", "sweep", "number"),
        _partial("parent", "parent IS NOT NULL", "parent", "number"),
    )

    id: str = Field(primary_key=True)
    number: int = Field(unique=True)
    status: str
    reason: str = ""
    family: str
    size: str
    dataset: str
    recipe: str
    seed: int
    epochs: int
    batch_size: int
    lr: float
    name: str = ""
    notes: str = ""
    params: int | None = None
    device_wanted: str = "auto"
    worker_wanted: str = ""
    priority: int = 0
    config: str
    asked: str
    attempt: int = 0
    losses: int = 0
    fence: int = 0
    applied: int = 0
    claim: str = ""
    worker: str = ""
    slot: int = 0
    device: str = ""
    created_at: float
    queued_at: float
    started_at: float | None = None
    ended_at: float | None = None
    trained_seconds: float | None = Field(
        None, sa_column=Column(Float, Computed("ended_at - started_at - asleep_seconds"))
    )
    lease_until: float | None = None
    deadline: float | None = None
    progress: str = "{}"
    environment: str = "{}"
    checkpoint: str = ""
    best_checkpoint: str = ""
    status_commit: int = 0
    progress_commit: int = 0
    reset_commit: int = 0
    idempotency_key: str | None = Field(None, unique=True)
    deleted_at: float | None = None
    rank: float = 0.0
    stop_reason: str = ""
    parent: str | None = None
    relation: str = ""
    parent_step: int | None = None
    sweep: str | None = None
    sweep_values: str = "{}"
    lost_at_step: int | None = None
    origin: str = Field("", sa_column_kwargs={"server_default": ""})
    stretches: str = Field("[]", sa_column_kwargs={"server_default": "[]"})
    asleep_seconds: float = Field(0.0, sa_column_kwargs={"server_default": "0"})
    created_by: str = Field("", sa_column_kwargs={"server_default": ""})
    removed: str = Field("{}", sa_column_kwargs={"server_default": "{}"})


class RunTag(SQLModel, table=True):
    """A tag of a run."""

    __tablename__ = "run_tag"
    __table_args__ = (Index("ix_run_tag_tag", "tag", "run"),)

    run: str = Field(primary_key=True, foreign_key="run.id", ondelete="CASCADE")
    tag: str = Field(primary_key=True)


class CommitCounter(SQLModel, table=True):
    """One row: the number of the newest commit that viewers could see."""

    __tablename__ = "commit_counter"

    id: int = Field(primary_key=True)
    value: int = 0


@dataclass
class RunRecord:
    """A row of ``run`` with its JSON parsed."""

    row: dict[str, Any]
    config: RunConfig
    progress: dict[str, Any]
    environment: dict[str, Any]
    tags: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.row[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def title(self) -> str:
        """The run's name, or family, size and dataset; followed by the values its sweep chose."""
        return f"{self.base_title} · {self.sweep_label}" if self.sweep_label else self.base_title

    @property
    def base_title(self) -> str:
        """The title without the values its sweep chose."""
        if isinstance(self.config, CommandConfig) and self.row["sweep"]:
            return self.config.template_title
        return self.config.title if self.executed or not self.logged else self.config.name or self.config.family

    @property
    def sweep_label(self) -> str:
        """The values that its sweep chose, except those already in its title."""
        values = from_json(self.row["sweep_values"])
        if not self.config.name and not self.logged:
            values = {name: value for name, value in values.items() if name not in ("family", "size", "dataset")}
        return describe_values(values) if values else ""

    @property
    def logged(self) -> bool:
        """Whether a script trains it, so that only what the script logs is known."""
        return bool(self.row["origin"])

    @property
    def executed(self) -> bool:
        """Whether it executes a command, whose script trains it."""
        return bool(self.row["origin"] == COMMAND)

    @property
    def requested_spec(self) -> dict[str, Any]:
        """The launch request, without blank fields."""
        spec: dict[str, Any] = from_json(self.row["asked"])
        return spec

    def duration(self, now: float) -> float | None:
        """Seconds from its start to its end or ``now``, without those in which its machine was suspended.

        None before it has started.
        """
        if self.started_at is None:
            return None
        return float((self.ended_at or now) - self.started_at - self.row["asleep_seconds"])

    @property
    def stretches(self) -> Intervals:
        """The intervals in which it was trained, including those inherited with its parent's curves."""
        return read_intervals(self.row["stretches"], self.row["started_at"])

    @property
    def live(self) -> bool:
        """Whether the run has not ended yet."""
        return self.row["status"] not in TERMINAL


RELATIONS = ("clone", "retry", "resume", "extend", "fork", "verify")


@dataclass(frozen=True)
class Origin:
    """Where a run comes from, if not from a plain launch; fields mean the same as the columns of ``run``.

    ``checkpoint``: what it starts from. ``rank``: its place in the queue. ``id``: an id generated beforehand.
    ``author``: whose it is, as ``created_by``, if not of whoever sent the request.
    """

    parent: str | None = None
    relation: str = ""
    parent_step: int | None = None
    checkpoint: str = ""
    sweep: str | None = None
    sweep_values: dict[str, Any] = field(default_factory=dict)
    rank: float | None = None
    id: str | None = None
    author: dict[str, str] = field(default_factory=dict)


def new_id(now: float, prefix: str = "r") -> str:
    """Generate an unguessable id that sorts by creation time; ``prefix`` names the kind, such as r for a run."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    value = int(now * 1000) << 30 | secrets.randbits(30)
    digits = ""
    for _ in range(15):
        value, digit = divmod(value, 32)
        digits = alphabet[digit] + digits
    return f"{prefix}_{digits}"


def insert_run(
    connection: Connection,
    config: RunConfig,
    asked: dict[str, Any],
    params: int | None,
    now: float,
    idempotency_key: str | None = None,
    origin: Origin | None = None,
) -> str:
    """Add a queued run and return its id; a repeated ``idempotency_key`` returns the run created before."""
    if idempotency_key is not None:
        same = text("SELECT id FROM run WHERE idempotency_key = :key")
        existing = connection.execute(same, {"key": idempotency_key}).scalar()
        if existing is not None:
            return str(existing)
    commit = next_commit(connection)
    origin = origin or Origin()
    run = origin.id or new_id(now)
    values = {
        "id": run,
        "number": next_number(connection),
        "status": "queued",
        "family": config.family,
        "size": config.size,
        "dataset": config.dataset_name,
        "recipe": config.recipe,
        "seed": config.seed,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "lr": config.lr,
        "name": config.name,
        "notes": config.notes,
        "params": params,
        "device_wanted": config.device,
        "worker_wanted": config.worker,
        "priority": config.priority,
        "config": config.model_dump_json(),
        "asked": json.dumps(asked),
        "created_at": now,
        "queued_at": now,
        "status_commit": commit,
        "progress_commit": commit,
        "idempotency_key": idempotency_key,
        "rank": now if origin.rank is None else origin.rank,
        "parent": origin.parent,
        "relation": origin.relation,
        "parent_step": origin.parent_step,
        "checkpoint": origin.checkpoint,
        "sweep": origin.sweep,
        "sweep_values": json.dumps(origin.sweep_values),
    }
    insert_row(connection, values | origin.author, config.tags)
    return run


def next_number(connection: Connection) -> int:
    """The number of the next run."""
    return int(connection.execute(text("SELECT coalesce(max(number), 0) + 1 FROM run")).scalar_one())


UNTRAINED: Final[dict[str, Any]] = {
    **dict.fromkeys(("size", "dataset", "recipe"), ""),
    **dict.fromkeys(("seed", "epochs", "batch_size"), 0),
    "lr": 0.0,
    "asked": "{}",
}
"""Columns of a run that Runyard does not train: only its script knows them."""


def insert_row(connection: Connection, values: dict[str, Any], tags: Iterable[str] = ()) -> None:
    """Add a row to ``run``, and its tags. Raises Conflict if too many runs of its author are queued."""
    values = {"created_by": author_of(connection, values.get("sweep")), **values}
    if values["status"] == "queued":
        take_room(connection, values["created_by"])
    row = Run(**values).model_dump(exclude={"trained_seconds"})
    connection.execute(text(f"INSERT INTO run ({', '.join(row)}) VALUES (:{', :'.join(row)})"), row)
    for tag in dict.fromkeys(tags):
        connection.execute(text("INSERT INTO run_tag (run, tag) VALUES (:run, :tag)"), {"run": row["id"], "tag": tag})


def transition(
    connection: Connection,
    run: str,
    to: str,
    commit: int,
    *,
    fence: int | None = None,
    reason: str | None = None,
    **changes: Any,
) -> bool:
    """Move a run to the state ``to`` by compare-and-set; False if its state or its fence does not allow it."""
    allowed = [state for state, following in TRANSITIONS.items() if to in following]
    sets = {"status": to, "status_commit": commit} | changes
    if reason is not None:
        sets["reason"] = reason
    if to in TERMINAL:
        sets |= {"lease_until": None, "deadline": None}
    values = {column: f":{column}" for column in sets}
    if "reason" in sets and to == "cancelled":
        # The original stop reason outlives what its worker reports about the stop.
        values["reason"] = "CASE WHEN stop_reason = '' THEN :reason ELSE stop_reason END"
    assignments = ", ".join(f"{column} = {value}" for column, value in values.items())
    states = ", ".join(f"'{state}'" for state in allowed)
    guard = "" if fence is None else " AND fence = :guard_fence"
    changed = connection.execute(
        text(f"UPDATE run SET {assignments} WHERE id = :run AND status IN ({states}){guard}"),
        sets | {"run": run, "guard_fence": fence},
    )
    return changed.rowcount == 1


def resolve_run(connection: Connection, run: str) -> str:
    """The id of the run with this number ("12", "#12"); anything else, and an unknown number, as it is."""
    number = run.strip().removeprefix("#")
    if not (number.isascii() and number.isdecimal() and len(number) <= 9):
        return run
    found = connection.execute(text("SELECT id FROM run WHERE number = :number"), {"number": int(number)}).scalar()
    return run if found is None else str(found)


def load_run(connection: Connection, run: str, *, deleted: bool = False) -> RunRecord | None:
    """The run with this id, or None; runs in the trash only if ``deleted``."""
    guard = "" if deleted else " AND deleted_at IS NULL"
    row = connection.execute(text(f"SELECT * FROM run WHERE id = :run{guard}"), {"run": run}).mappings().one_or_none()
    return None if row is None else record(dict(row), tags_of(connection, [run]).get(run, []))


@dataclass(frozen=True)
class RunState:
    """What a run's live page shows, and the commits of its last changes; ``progress`` is JSON."""

    status: str
    progress: str
    status_commit: int
    progress_commit: int
    reset_commit: int


def read_state(connection: Connection, run: str) -> RunState | None:
    """The state of a run, None if missing or in the trash; costs a quarter of load_run."""
    columns = ", ".join(RunState.__dataclass_fields__)
    row = connection.execute(
        text(f"SELECT {columns} FROM run WHERE id = :run AND deleted_at IS NULL"), {"run": run}
    ).one_or_none()
    return None if row is None else RunState(*row)


def record(row: dict[str, Any], tags: list[str]) -> RunRecord:
    """Build a RunRecord from a row of ``run``."""
    config: RunConfig
    if row["origin"]:
        kind = CommandConfig if row["origin"] == COMMAND else LoggedConfig
        config = kind.of(from_json(row["config"]))
    else:
        config = RunConfig.model_validate_json(row["config"])
    return RunRecord(row, config, from_json(row["progress"]), from_json(row["environment"]), tags)


def tags_of(connection: Connection, runs: list[str]) -> dict[str, list[str]]:
    """Tags by run."""
    if not runs:
        return {}
    tags: dict[str, list[str]] = {}
    for run, tag in connection.execute(_READ_TAGS, {"runs": runs}):
        tags.setdefault(run, []).append(tag)
    return tags


_READ_TAGS = text("SELECT run, tag FROM run_tag WHERE run IN :runs ORDER BY tag").bindparams(
    bindparam("runs", expanding=True)
)
