"""Who trains a run, and until when: claims, leases, what a trainer's end or silence makes of it, and stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, text

from app.contract.events import Checkpoint, DeviceInfo, Started
from app.contract.spec import RunConfig
from app.store import training_time
from app.store.run import ACTIVE, transition

LOST_SECONDS = 1.0
"""How long a lost run is shown as such before it is queued again."""
ENDS_AT_ONCE = "(status IN ('queued', 'lost') OR (origin != '' AND status = 'running'))"
"""What of a run is true that ends as soon as it is to stop: no worker holds it."""
STOPPED_HERE = "stopped here; what its script says from now on is refused"
QUEUE_ORDER = "priority DESC, rank, number"


@dataclass(frozen=True)
class Granted:
    """A run that a claim was given."""

    run: str
    fence: int
    attempt: int
    config: RunConfig
    resume: Checkpoint | None


def claim_next(
    connection: Connection, claim: str, worker: str, slot: int, device: DeviceInfo, commit: int, lease_until: float
) -> Granted | None:
    """Give the first queued run that fits ``device`` to ``claim``; the same claim asked twice gets the same run.

    None, too, while the queue is paused.
    """
    held = connection.execute(
        text("SELECT id, fence, attempt, config, checkpoint FROM run WHERE claim = :claim AND status = 'starting'"),
        {"claim": claim},
    ).one_or_none()
    if held is None:
        held = connection.execute(
            text(
                "UPDATE run SET status = 'starting', reason = '', fence = fence + 1, attempt = attempt + 1,"
                " applied = 0, claim = :claim, worker = :worker, slot = :slot, device = :device, lease_until = :lease,"
                " status_commit = :commit"
                " WHERE id = (SELECT id FROM run WHERE status = 'queued' AND deleted_at IS NULL"
                "  AND device_wanted IN (:any, :kind, :one)"
                "  AND (worker_wanted = '' OR substr(:worker, 1, length(worker_wanted)) = worker_wanted)"
                "  AND NOT EXISTS (SELECT 1 FROM queue_state WHERE paused_at IS NOT NULL)"
                f" ORDER BY {QUEUE_ORDER} LIMIT 1) AND status = 'queued'"
                " RETURNING id, fence, attempt, config, checkpoint"
            ),
            {
                "claim": claim,
                "worker": worker,
                "slot": slot,
                "device": device.name,
                "any": device.accepted_devices[0],
                "kind": device.accepted_devices[1],
                "one": device.accepted_devices[-1],
                "lease": lease_until,
                "commit": commit,
            },
        ).one_or_none()
    if held is None:
        return None
    resume = Checkpoint.model_validate_json(held.checkpoint) if held.checkpoint else None
    return Granted(held.id, held.fence, held.attempt, RunConfig.model_validate_json(held.config), resume)


def renew(connection: Connection, run: str, fence: int, lease_until: float) -> str | None:
    """Renew the lease of a run and return its status; None when the run is no longer this fence's."""
    status = connection.execute(
        text(
            "UPDATE run SET lease_until = :lease WHERE id = :run AND fence = :fence"
            f" AND status IN {ACTIVE} RETURNING status"
        ),
        {"lease": lease_until, "run": run, "fence": fence},
    ).scalar()
    return None if status is None else str(status)


def begin(connection: Connection, run: str, fence: int, started: Started, commit: int, now: float) -> bool:
    """A trainer is about to make its first step."""
    changed = transition(connection, run, "running", commit, fence=fence, deadline=None)
    if changed:
        training_time.go_on(connection, run, now if started.time is None else started.time)
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
    """A run has ended; an interrupted one goes back to the queue and continues from its last checkpoint.

    One whose trainer was killed does so too, as a lost one: not for ever, if it gets no further.
    """
    if outcome == "killed":
        return _lose_killed(connection, run, fence, reason, commit, now)
    if outcome != "interrupted":
        return transition(connection, run, outcome, commit, fence=fence, reason=reason, ended_at=now)
    if transition(connection, run, "queued", commit, fence=fence, reason=reason, lease_until=None, claim=""):
        return True
    # Told twice, it finds the run in the queue, where it stays; one that was being stopped has been stopped.
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
    """Mark a run as lost. Only where it has got no further since it was last lost does that count as a loss."""
    step = _checkpoint_step(row.checkpoint)
    further = step > (row.lost_at_step or row.parent_step or 0)
    told: dict[str, Any] = {"losses": 0 if further else row.losses + 1, "lost_at_step": step}
    return transition(connection, row.id, "lost", commit, fence=fence, reason=reason, lease_until=lease_until, **told)


def _checkpoint_step(checkpoint: str) -> int:
    return Checkpoint.model_validate_json(checkpoint).step if checkpoint else 0


def request_cancel(
    connection: Connection, run: str, commit: int, now: float, grace_seconds: float, stop_reason: str = ""
) -> str | None:
    """Stop a run: one that waits ends at once, one that is held is asked to. Returns the status it has now.

    A ``stop_reason`` then stands as the reason of the stopped run.
    """
    stopped = connection.execute(
        text(
            f"UPDATE run SET status = 'cancelled', reason = CASE origin WHEN '' THEN :reason ELSE '{STOPPED_HERE}' END,"
            " stop_reason = :stop_reason, ended_at = :now, status_commit = :commit, lease_until = NULL, deadline = NULL"
            f" WHERE id = :run AND {ENDS_AT_ONCE}"
        ),
        {
            "run": run,
            "now": now,
            "commit": commit,
            "reason": stop_reason or "stopped while it waited",
            "stop_reason": stop_reason,
        },
    )
    if stopped.rowcount:
        return "cancelled"
    said: dict[str, Any] = {"reason": stop_reason or "stop was asked for", "deadline": now + grace_seconds}
    if stop_reason:
        said["stop_reason"] = stop_reason
    transition(connection, run, "cancelling", commit, **said)
    found = connection.execute(text("SELECT status FROM run WHERE id = :run"), {"run": run}).scalar()
    return None if found is None else str(found)


def anything_overdue(connection: Connection, now: float) -> bool:
    """Whether a lease or a deadline has run out, or a lost run waits to be settled."""
    due = text(
        f"SELECT 1 FROM run WHERE (status IN {ACTIVE} OR status = 'lost') AND (lease_until < :now OR deadline < :now)"
        " LIMIT 1"
    )
    return connection.execute(due, {"now": now}).one_or_none() is not None


def expire_leases(connection: Connection, commit: int, now: float) -> list[str]:
    """Mark every run whose lease has run out as lost; one that was to be stopped is cancelled, and at its deadline too.

    A worker that still holds a run after that is told with its next heartbeat that the run is no longer its own.
    """
    gone = connection.execute(
        text(f"SELECT {_LOSING} FROM run WHERE status IN {ACTIVE} AND lease_until < :now"),
        {"now": now},
    ).all()
    for row in gone:
        if row.status == "cancelling":
            transition(connection, row.id, "cancelled", commit, reason="stopped; its worker is gone", ended_at=now)
        else:
            reason = f"its worker {row.worker} is gone: no sign of life until the lease ran out"
            _lose(connection, row, reason, commit, now)
    late = connection.execute(
        text("SELECT id FROM run WHERE status = 'cancelling' AND deadline < :now"), {"now": now}
    ).scalars()
    ended = [str(run) for run in late]
    for run in ended:
        transition(connection, run, "cancelled", commit, reason="its worker did not stop it in time", ended_at=now)
    return [str(row.id) for row in gone] + ended


def settle_lost(connection: Connection, commit: int, now: float, max_attempts: int) -> list[str]:
    """Queue every lost run again from its last checkpoint, or fail it when it was started often enough in vain."""
    lost = connection.execute(
        text("SELECT id, losses, reason, checkpoint FROM run WHERE status = 'lost' AND lease_until < :until"),
        {"until": now - LOST_SECONDS},
    ).all()
    for row in lost:
        if row.losses >= max_attempts:
            reason = f"lost {row.losses} times without getting further, the last time because {row.reason}"
            transition(connection, row.id, "failed", commit, reason=reason, ended_at=now)
        else:
            step = _checkpoint_step(row.checkpoint)
            where = f"from its checkpoint at step {step:,}" if step else "from the start"
            reason = f"{row.reason}; goes on {where}"
            transition(connection, row.id, "queued", commit, reason=reason, lease_until=None, claim="")
    return [str(row.id) for row in lost]


def postpone_leases(connection: Connection, until: float) -> None:
    """Give every held run time to renew its lease: nobody could listen for a while."""
    connection.execute(
        text(f"UPDATE run SET lease_until = :until WHERE status IN {ACTIVE} AND lease_until < :until"),
        {"until": until},
    )
