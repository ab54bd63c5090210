"""Edit a run after its launch: name, notes, tags and priority, but never what it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json
from sqlalchemy import Connection, text

# Fields that are also stored in columns.
COLUMNS = ("name", "notes", "priority")


def edit(connection: Connection, run: str, changes: Mapping[str, Any], commit: int) -> None:
    """Change fields of a run's configuration, along with the columns and tags derived from them."""
    stored = connection.execute(text("SELECT config FROM run WHERE id = :run"), {"run": run}).scalar_one()
    tags = {"tags": list(dict.fromkeys(changes["tags"]))} if "tags" in changes else {}
    sets = {
        "config": to_json(from_json(stored) | changes | tags).decode(),
        "status_commit": commit,
        **{column: changes[column] for column in COLUMNS if column in changes},
    }
    assignments = ", ".join(f"{column} = :{column}" for column in sets)
    connection.execute(text(f"UPDATE run SET {assignments} WHERE id = :run"), sets | {"run": run})
    if tags:
        connection.execute(text("DELETE FROM run_tag WHERE run = :run"), {"run": run})
        for tag in tags["tags"]:
            connection.execute(text("INSERT INTO run_tag (run, tag) VALUES (:run, :tag)"), {"run": run, "tag": tag})
