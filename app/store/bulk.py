"""What is done to many runs of the table in one transaction: the trash, and tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, bindparam, text

from app.store.run import TERMINAL

# Of what a statement can be given.
AT_ONCE = 1000
MOST_TAGS = 20


def _parts(runs: Sequence[str]) -> Iterator[list[str]]:
    return (list(runs[start : start + AT_ONCE]) for start in range(0, len(runs), AT_ONCE))


def trash_runs(connection: Connection, runs: Sequence[str], commit: int, now: float) -> list[str]:
    """Put those that have ended into the trash; returns which."""
    found: list[str] = []
    for part in _parts(runs):
        found += connection.execute(_TRASH, {"runs": part, "now": now, "commit": commit}).scalars()
    return found


_TRASH = text(
    f"UPDATE run SET deleted_at = :now, status_commit = :commit WHERE id IN :runs AND status IN {TERMINAL}"
    " AND deleted_at IS NULL RETURNING id"
).bindparams(bindparam("runs", expanding=True))


def take_out(connection: Connection, runs: Sequence[str], commit: int) -> list[str]:
    """Take runs out of the trash; returns which were there."""
    found: list[str] = []
    for part in _parts(runs):
        found += connection.execute(_TAKE_OUT, {"runs": part, "commit": commit}).scalars()
    return found


_TAKE_OUT = text(
    "UPDATE run SET deleted_at = NULL, status_commit = :commit WHERE id IN :runs AND deleted_at IS NOT NULL"
    " RETURNING id"
).bindparams(bindparam("runs", expanding=True))


def tag_runs(connection: Connection, runs: Sequence[str], tag: str, commit: int) -> list[str]:
    """Give runs a tag; returns those that had it not. A run with MOST_TAGS keeps these."""
    changed: list[str] = []
    for part in _parts(runs):
        for run, config in connection.execute(_WITHOUT, {"runs": part, "tag": tag}).all():
            said = from_json(config)
            if len(said.get("tags", ())) >= MOST_TAGS:
                continue
            said["tags"] = [*said.get("tags", ()), tag]
            connection.execute(_ADD_TAG, {"run": run, "tag": tag})
            connection.execute(_CONFIG, {"run": run, "config": to_json(said).decode(), "commit": commit})
            changed.append(run)
    return changed


def untag_runs(connection: Connection, runs: Sequence[str], tag: str, commit: int) -> list[str]:
    """Take a tag from runs; returns those that had it."""
    changed: list[str] = []
    for part in _parts(runs):
        for run, config in connection.execute(_WITH, {"runs": part, "tag": tag}).all():
            said = from_json(config)
            said["tags"] = [each for each in said.get("tags", ()) if each != tag]
            connection.execute(_REMOVE_TAG, {"run": run, "tag": tag})
            connection.execute(_CONFIG, {"run": run, "config": to_json(said).decode(), "commit": commit})
            changed.append(run)
    return changed


_HAS = "EXISTS (SELECT 1 FROM run_tag t WHERE t.run = run.id AND t.tag = :tag)"
_WITH, _WITHOUT = (
    text(f"SELECT id, config FROM run WHERE id IN :runs AND deleted_at IS NULL AND {which}").bindparams(
        bindparam("runs", expanding=True)
    )
    for which in (_HAS, f"NOT {_HAS}")
)
_ADD_TAG = text("INSERT INTO run_tag (run, tag) VALUES (:run, :tag)")
_REMOVE_TAG = text("DELETE FROM run_tag WHERE run = :run AND tag = :tag")
_CONFIG = text("UPDATE run SET config = :config, status_commit = :commit WHERE id = :run")
