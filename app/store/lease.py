"""Claims, leases and expiry: which worker trains a run, and until when; and how runs end, are lost or are stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, TextClause, bindparam, text

from app.contract.events import Checkpoint, DeviceInfo, Started
from app.contract.program import Startable
from app.contract.spec import RunConfig
from app.store import training_time
from app.store.command import load_command, restarts_of
from app.store.person_limit import limits_of
from app.store.run import ACTIVE, COMMAND, OWNED, transition
from app.store.turn import NEXT, NEXT_IN_TURN, PLAIN, QueueRules, take_turn
from app.store.user import any_user

LOST_SECONDS = 1.0
"""How long a lost run is shown as lost before it is queued again."""
ENDS_AT_ONCE = f"(status IN ('queued', 'lost') OR (NOT {OWNED} AND status = 'running'))"
"""Condition for runs that end immediately when stopped, because no worker owns them."""
STOPPED_HERE = "cancelled in Runyard; further updates from its script are rejected"
LOST_CONTACT = "cancelled after contact with its worker was lost"
NO_RESPONSE = "cancelled; its worker did not respond in time"


@dataclass(frozen=True)
class Granted:
    """A run granted to a claim, with what to train or the command to execute."""

    run: str
    fence: int
    attempt: int
    config: RunConfig | None
    resume: Checkpoint | None
    command: Startable | None = None


def claim_next(
    connection: Connection,
    claim: str,
    worker: str,
    slot: int,
    device: DeviceInfo,
    commit: int,
    lease_until: float,
    rules: QueueRules = PLAIN,
    commands: bool = True,
) -> Granted | None:
    """Grant the next queued run that fits ``device`` to ``claim``; repeating a claim returns the same run.

    ``commands``: whether the worker has the key of commands; without it, commands wait for another worker. Returns None
    if there is none that may start, while the queue is paused or held, and to a worker whose disk is full.
    """
    claimed = connection.execute(
        text(f"SELECT {_GRANTED} FROM run WHERE claim = :claim AND status = 'starting'"),
        {"claim": claim},
    ).one_or_none()
    if claimed is None:
        values = {
            "claim": claim,
            "worker": worker,
            "slot": slot,
            "device": device.name,
            "any": device.accepted_devices[0],
            "kind": device.accepted_devices[1],
            "one": device.accepted_devices[-1],
            "lease": lease_until,
            "commit": commit,
            "commands": int(commands),
        }
        claimed = _start_next(connection, values, rules)
    if claimed is None:
        return None
    if claimed.origin == COMMAND:
        command = load_command(connection, claimed.id)
        return Granted(claimed.id, claimed.fence, claimed.attempt, None, None, command)
    resume = Checkpoint.model_validate_json(claimed.checkpoint) if claimed.checkpoint else None
    return Granted(claimed.id, claimed.fence, claimed.attempt, RunConfig.model_validate_json(claimed.config), resume)


_GRANTED = "id, fence, attempt, origin, config, checkpoint"


def _start_next(connection: Connection, values: dict[str, Any], rules: QueueRules) -> Any:
    """Set the next run that fits and may start to ``starting``; None if there is none."""
    if not any_user(connection):
        return connection.execute(_START, values).one_or_none()
    held = [person for person, limit in limits_of(connection, rules.most_running).items() if limit.full]
    started = connection.execute(_STARTS[rules.fair, bool(held)], values | {"held": held}).one_or_none()
    if started is not None and rules.fair:
        take_turn(connection, started.priority, started.created_by)
    return started


def _start(next_run: str) -> TextClause:
    return text(
        "UPDATE run SET status = 'starting', reason = '', fence = fence + 1, attempt = attempt + 1, applied = 0,"
        " claim = :claim, worker = :worker, slot = :slot, device = :device, lease_until = :lease,"
        f" status_commit = :commit WHERE id = ({next_run}) AND status = 'queued'"
        f" RETURNING {_GRANTED}, priority, created_by"
    )


_START = _start(NEXT.format(""))
_NOT_HELD = " AND created_by NOT IN :held"
_STARTS = {
    # Without a list of any length, the statement is ready to be executed.
    (fair, held): _start(next_run.format(_NOT_HELD)).bindparams(bindparam("held", expanding=True))
    if held
    else _start(next_run.format(""))
    for fair, next_run in ((False, NEXT), (True, NEXT_IN_TURN))
    for held in (False, True)
}


def renew(connection: Connection, run: str, fence: int, lease_until: float) -> str | None:
    """Renew the lease of a run and return its status; None if this fence no longer owns the run."""
    status = connection.execute(
        text(
            "UPDATE run SET lease_until = :lease WHERE id = :run AND fence = :fence"
            f" AND status IN {ACTIVE} RETURNING status"
        ),
        {"lease": lease_until, "run": run, "fence": fence},
    ).scalar()
    return None if status is None else str(status)


def begin(connection: Connection, run: str, fence: int, started: Started, commit: int, now: float) -> bool:
    """Record that a trainer is about to make its first step."""
    changed = transition(connection, run, "running", commit, fence=fence, deadline=None)
    if changed:
        training_time.begin_interval(connection, run, now if started.time is None else started.time)
    connection.execute(
        text(
            "UPDATE run SET started_at = coalesce(started_at, :now), params = :params, environment = :environment,"
            " status_commit = :commit WHERE id = :run AND fence = :fence"
        ),
        {
            "now": now,
            "params": started.params,
            "environment": to_json(started.environment, inf_nan_mode="null").decode(),
            "commit": commit,
            "run": run,
            "fence": fence,
        },
    )
    return changed


def end(connection: Connection, run: str, fence: int, outcome: str, reason: str, commit: int, now: float) -> bool:
    """Record the end of an attempt; an interrupted run is queued again and resumes from its last checkpoint.

    A run whose trainer was killed counts as lost, so that it fails in the end if it makes no progress. So does an
    interrupted command, which has no checkpoint.
    """
    if outcome == "killed" or (outcome == "interrupted" and restarts_of(connection, run) is not None):
        return _lose_killed(connection, run, fence, reason, commit, now)
    if outcome != "interrupted":
        return transition(connection, run, outcome, commit, fence=fence, reason=reason, ended_at=now)
    if transition(connection, run, "queued", commit, fence=fence, reason=reason, lease_until=None, claim=""):
        return True
    # When reported twice, the run is already queued and stays so; a run that was being stopped is now cancelled.
    status = connection.execute(text("SELECT status FROM run WHERE id = :run"), {"run": run}).scalar()
    if status != "cancelling":
        return False
    return transition(connection, run, "cancelled", commit, fence=fence, reason=reason, ended_at=now)


def _lose_killed(connection: Connection, run: str, fence: int, reason: str, commit: int, now: float) -> bool:
    row = connection.execute(text(f"SELECT {_LOSING} FROM run WHERE id = :run"), {"run": run}).one_or_none()
    if row is None:
        return False
    if row.status == "cancelling":
        return transition(connection, run, "cancelled", commit, fence=fence, reason=reason, ended_at=now)
    return _lose(connection, row, reason, commit, now - LOST_SECONDS - 1.0, fence)


_LOSING = "id, status, worker, losses, lost_at_step, parent_step, checkpoint"


def _lose(
    connection: Connection, row: Any, reason: str, commit: int, lease_until: float, fence: int | None = None
) -> bool:
    """Mark a run as lost; this counts as a loss only if it made no progress since it was last lost."""
    step = _checkpoint_step(row.checkpoint)
    further = step > (row.lost_at_step or row.parent_step or 0)
    changes: dict[str, Any] = {"losses": 0 if further else row.losses + 1, "lost_at_step": step}
    return transition(
        connection, row.id, "lost", commit, fence=fence, reason=reason, lease_until=lease_until, **changes
    )


def _checkpoint_step(checkpoint: str) -> int:
    return Checkpoint.model_validate_json(checkpoint).step if checkpoint else 0


def request_cancel(
    connection: Connection, run: str, commit: int, now: float, grace_seconds: float, stop_reason: str = ""
) -> str | None:
    """Stop a run: immediately if no worker owns it, otherwise by asking its worker. Returns its new status.

    A ``stop_reason`` becomes the reason of the stopped run.
    """
    stopped = connection.execute(
        text(
            f"UPDATE run SET status = 'cancelled', reason = CASE WHEN {OWNED} THEN :reason ELSE '{STOPPED_HERE}' END,"
            " stop_reason = :stop_reason, ended_at = :now, status_commit = :commit, lease_until = NULL, deadline = NULL"
            f" WHERE id = :run AND {ENDS_AT_ONCE}"
        ),
        {
            "run": run,
            "now": now,
            "commit": commit,
            "reason": stop_reason or "cancelled while queued",
            "stop_reason": stop_reason,
        },
    )
    if stopped.rowcount:
        return "cancelled"
    changes: dict[str, Any] = {"reason": stop_reason or "stop requested", "deadline": now + grace_seconds}
    if stop_reason:
        changes["stop_reason"] = stop_reason
    transition(connection, run, "cancelling", commit, **changes)
    status = connection.execute(text("SELECT status FROM run WHERE id = :run"), {"run": run}).scalar()
    return None if status is None else str(status)


def anything_overdue(connection: Connection, now: float) -> bool:
    """Whether a lease or deadline has expired, or a lost run is due to be settled."""
    due = text(
        f"SELECT 1 FROM run WHERE (status IN {ACTIVE} OR status = 'lost') AND (lease_until < :now OR deadline < :now)"
        " LIMIT 1"
    )
    return connection.execute(due, {"now": now}).one_or_none() is not None


def expire_leases(connection: Connection, commit: int, now: float) -> list[str]:
    """Mark runs with expired leases as lost; those being stopped are cancelled, also when their deadline has passed.

    A worker that still owns such a run is told to drop it with its next heartbeat.
    """
    gone = connection.execute(
        text(f"SELECT {_LOSING} FROM run WHERE status IN {ACTIVE} AND lease_until < :now"),
        {"now": now},
    ).all()
    for row in gone:
        if row.status == "cancelling":
            transition(connection, row.id, "cancelled", commit, reason=LOST_CONTACT, ended_at=now)
        else:
            reason = f"lost contact with worker {row.worker} (no heartbeat)"
            _lose(connection, row, reason, commit, now)
    late = connection.execute(
        text("SELECT id FROM run WHERE status = 'cancelling' AND deadline < :now"), {"now": now}
    ).scalars()
    ended = [str(run) for run in late]
    for run in ended:
        transition(connection, run, "cancelled", commit, reason=NO_RESPONSE, ended_at=now)
    return [str(row.id) for row in gone] + ended


def settle_lost(connection: Connection, commit: int, now: float, max_attempts: int) -> list[str]:
    """Queue lost runs again from their last checkpoint; fail those lost too often without progress.

    A lost command starts again only as often as its user allowed.
    """
    lost = connection.execute(
        text("SELECT id, losses, reason, checkpoint FROM run WHERE status = 'lost' AND lease_until < :until"),
        {"until": now - LOST_SECONDS},
    ).all()
    for row in lost:
        restarts = restarts_of(connection, row.id)
        if restarts is not None:
            _settle_command(connection, row, restarts, commit, now)
        elif row.losses >= max_attempts:
            plural = "" if row.losses == 1 else "s"
            reason = f"failed after being lost {row.losses} time{plural} without progress; last time: {row.reason}"
            transition(connection, row.id, "failed", commit, reason=reason, ended_at=now)
        else:
            step = _checkpoint_step(row.checkpoint)
            where = f"resuming from the checkpoint at step {step:,}" if step else "restarting from the beginning"
            reason = f"{row.reason}; {where}"
            transition(connection, row.id, "queued", commit, reason=reason, lease_until=None, claim="")
    return [str(row.id) for row in lost]


def _settle_command(connection: Connection, row: Any, restarts: int, commit: int, now: float) -> None:
    if row.losses <= restarts:
        reason = f"{row.reason}; starting again (restart {row.losses} of {restarts})"
        transition(connection, row.id, "queued", commit, reason=reason, lease_until=None, claim="")
        return
    after = "" if not restarts else f" after {restarts} restart{'' if restarts == 1 else 's'}"
    transition(connection, row.id, "failed", commit, reason=f"{row.reason}; not started again{after}", ended_at=now)


_BEYOND = (
    ("run", "lease_until", f"status IN {ACTIVE}", "lease"),
    ("run", "lease_until", "status = 'lost'", "now"),
    ("run", "deadline", "status = 'cancelling'", "grace"),
    ("worker", "last_seen", "1 = 1", "now"),
)
# Server and recorder read the clock one after the other.
_TOLERANCE_SECONDS = 1.0


def anything_ahead(connection: Connection, now: float, lease_seconds: float, grace_seconds: float) -> bool:
    """Whether a lease, deadline or sign of life lies further ahead than it can: the clock has been set back since."""
    conditions = " OR ".join(
        f"EXISTS (SELECT 1 FROM {table} WHERE {condition} AND {column} > :{limit})"
        for table, column, condition, limit in _BEYOND
    )
    return bool(
        connection.execute(text(f"SELECT {conditions}"), _limits(now, lease_seconds, grace_seconds)).scalar_one()
    )


def bring_back(connection: Connection, now: float, lease_seconds: float, grace_seconds: float) -> None:
    """Shorten what lies too far ahead to the longest that it could be if it were granted now."""
    limits = _limits(now, lease_seconds, grace_seconds)
    for table, column, condition, limit in _BEYOND:
        values = {"limit": limits[limit], "to": limits[limit] - _TOLERANCE_SECONDS}
        connection.execute(text(f"UPDATE {table} SET {column} = :to WHERE {condition} AND {column} > :limit"), values)


def _limits(now: float, lease_seconds: float, grace_seconds: float) -> dict[str, float]:
    latest = now + _TOLERANCE_SECONDS
    return {"now": latest, "lease": latest + lease_seconds, "grace": latest + grace_seconds}


def postpone_leases(connection: Connection, until: float) -> None:
    """Extend the leases of all owned runs until ``until``, after a time in which no heartbeat could be received."""
    connection.execute(
        text(f"UPDATE run SET lease_until = :until WHERE status IN {ACTIVE} AND lease_until < :until"),
        {"until": until},
    )
