"""The queue: the order in which runs start, whether it is paused, and why a run waits."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, text
from sqlmodel import Field, SQLModel

from app.store.database import rows
from app.store.run import QUEUE_ORDER, RunRecord, record
from app.store.worker import WorkerRecord


class QueueState(SQLModel, table=True):
    """One row: since when the queue is paused, in seconds since 1970, UTC; NULL while it is not."""

    __tablename__ = "queue_state"

    id: int = Field(primary_key=True)
    paused_at: float | None = None


@dataclass(frozen=True)
class Waiting:
    """A queued run, its place (1 is next) and why it waits."""

    run: RunRecord
    position: int
    why: str


def queue(connection: Connection, workers: list[WorkerRecord], limit: int = 50) -> tuple[list[Waiting], int]:
    """The queue in the order in which it will start, and how long it is in all."""
    found = rows(
        connection.execute(
            text(
                f"SELECT * FROM run WHERE status = 'queued' AND deleted_at IS NULL ORDER BY {QUEUE_ORDER} LIMIT :limit"
            ),
            {"limit": limit},
        )
    )
    records = [record(row, []) for row in found]
    return [Waiting(run, i + 1, why_waiting(run, i, workers)) for i, run in enumerate(records)], count_queued(
        connection
    )


def why_waiting(run: RunRecord, ahead: int, workers: list[WorkerRecord]) -> str:
    """The reason why a queued run with ``ahead`` runs before it has not started."""
    if not workers:
        return "no worker is connected"
    fitting = [worker for worker in workers if run.device_wanted in ("auto", worker.device_kind)]
    if not fitting:
        kinds = ", ".join(sorted({worker.device_kind for worker in workers}))
        return f"asks for {run.device_wanted}, and the workers have {kinds}"
    if sum(worker.free_slots for worker in fitting) > ahead:
        return "starting"
    slots = sum(worker.slots for worker in fitting)
    busy = "the slot is taken" if slots == 1 else f"all {slots} slots are taken"
    return busy if not ahead else f"{busy}, {ahead} ahead"


def positions_in_queue(connection: Connection, runs: list[str]) -> dict[str, int]:
    """The places of those of these runs that are queued, 1 being next."""
    return {run: int(place) for run, place in connection.execute(_FIND_PLACES, {"runs": runs})} if runs else {}


_FIND_PLACES = text(
    f"WITH waiting AS (SELECT id, row_number() OVER (ORDER BY {QUEUE_ORDER}) AS place FROM run"
    " WHERE status = 'queued' AND deleted_at IS NULL) SELECT id, place FROM waiting WHERE id IN :runs"
).bindparams(bindparam("runs", expanding=True))


def count_queued(connection: Connection) -> int:
    """How many runs wait."""
    return int(connection.execute(_COUNT_QUEUED).scalar_one())


_COUNT_QUEUED = text("SELECT count(*) FROM run WHERE status = 'queued' AND deleted_at IS NULL")
