"""The trash: delete, restore and purge runs. A run stays that an alias or a version of a registered model points to."""

from __future__ import annotations

from sqlalchemy import Connection, text

from app.store.run import TERMINAL

NOT_NAMED = (
    "NOT EXISTS (SELECT 1 FROM alias WHERE alias.run = run.id)"
    " AND NOT EXISTS (SELECT 1 FROM model_version WHERE model_version.run = run.id)"
)
"""Neither an alias nor a version of a registered model is lost with the run."""


def delete_run(connection: Connection, run: str, commit: int, now: float) -> bool:
    """Move an ended run to the trash; False if it does not exist, has not ended, or a name points to it."""
    changed = connection.execute(
        text(
            "UPDATE run SET deleted_at = :now, status_commit = :commit"
            f" WHERE id = :run AND deleted_at IS NULL AND status IN {TERMINAL} AND {NOT_NAMED}"
        ),
        {"run": run, "now": now, "commit": commit},
    )
    return changed.rowcount == 1


def restore_run(connection: Connection, run: str, commit: int) -> bool:
    """Restore a run from the trash."""
    changed = connection.execute(
        text("UPDATE run SET deleted_at = NULL, status_commit = :commit WHERE id = :run AND deleted_at IS NOT NULL"),
        {"run": run, "commit": commit},
    )
    return changed.rowcount == 1


def purge_runs(connection: Connection, before: float, run: str = "") -> list[str]:
    """Permanently remove runs that were deleted before ``before``, or only this one of them; returns their ids."""
    old = text(f"SELECT id FROM run WHERE deleted_at < :before AND (:run = '' OR id = :run) AND {NOT_NAMED}")
    purged = [str(each) for each in connection.execute(old, {"before": before, "run": run}).scalars()]
    for each in purged:
        connection.execute(text("DELETE FROM run WHERE id = :run"), {"run": each})
    return purged
