"""What users throw away: runs in the trash, and what empties it."""

from __future__ import annotations

from sqlalchemy import Connection, text

from app.store.run import TERMINAL


def delete_run(connection: Connection, run: str, commit: int, now: float) -> bool:
    """Put an ended run into the trash; False when it has not ended or does not exist."""
    changed = connection.execute(
        text(
            "UPDATE run SET deleted_at = :now, status_commit = :commit"
            f" WHERE id = :run AND deleted_at IS NULL AND status IN {TERMINAL}"
        ),
        {"run": run, "now": now, "commit": commit},
    )
    return changed.rowcount == 1


def restore_run(connection: Connection, run: str, commit: int) -> bool:
    """Take a run out of the trash."""
    changed = connection.execute(
        text("UPDATE run SET deleted_at = NULL, status_commit = :commit WHERE id = :run AND deleted_at IS NOT NULL"),
        {"run": run, "commit": commit},
    )
    return changed.rowcount == 1


def purge_runs(connection: Connection, before: float) -> list[str]:
    """Remove the runs that were deleted before ``before`` for good, with all they had; returns their ids."""
    old = connection.execute(text("SELECT id FROM run WHERE deleted_at < :before"), {"before": before}).scalars().all()
    for run in old:
        connection.execute(text("DELETE FROM run WHERE id = :run"), {"run": run})
    return [str(run) for run in old]
