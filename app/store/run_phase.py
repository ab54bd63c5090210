"""What an active run does besides training, as its worker tells it."""

from __future__ import annotations

import json

from sqlalchemy import Connection, text


def set_phase(connection: Connection, run: str, phase: str, commit: int) -> None:
    """Set the phase in a run's progress; pages show it at once."""
    progress = connection.execute(text("SELECT progress FROM run WHERE id = :run"), {"run": run}).scalar()
    if progress is None:
        return
    changed = json.dumps((json.loads(progress) if progress else {}) | {"phase": phase})
    connection.execute(
        text("UPDATE run SET progress = :progress, progress_commit = :commit, status_commit = :commit WHERE id = :run"),
        {"progress": changed, "commit": commit, "run": run},
    )
