"""Storage of the audit log: who did what, when, and by which credential. Rows are only ever added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Index, text
from sqlmodel import Field, SQLModel


class AuditEvent(SQLModel, table=True):
    """``who``: the person's name, as it was; ``credential``: such as a session or a token's name; ``detail``: JSON."""

    __tablename__ = "audit_event"
    __table_args__ = (Index("ix_audit_event_who", "who", "id"), Index("ix_audit_event_target", "target", "id"))

    id: int | None = Field(None, primary_key=True)
    at: float
    who: str
    credential: str
    address: str = ""
    action: str
    target: str = ""
    detail: str = "{}"


def record_event(
    connection: Connection,
    *,
    at: float,
    who: str,
    credential: str,
    action: str,
    target: str = "",
    address: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add an event."""
    connection.execute(
        text(
            "INSERT INTO audit_event (at, who, credential, address, action, target, detail)"
            " VALUES (:at, :who, :credential, :address, :action, :target, :detail)"
        ),
        {
            "at": at,
            "who": who,
            "credential": credential,
            "address": address[:100],
            "action": action,
            "target": target[:300],
            "detail": json.dumps(detail or {}),
        },
    )


def list_events(
    connection: Connection,
    *,
    who: str = "",
    action: str = "",
    target: str = "",
    before: int | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Events, newest first. ``action``: its name or the start of it, such as ``run.``; ``before``: an event's ID."""
    found = connection.execute(
        text(
            "SELECT id, at, who, credential, address, action, target, detail FROM audit_event"
            " WHERE (:who = '' OR who = :who) AND (:action = '' OR substr(action, 1, length(:action)) = :action)"
            " AND (:target = '' OR target = :target) AND (:before = 0 OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {"who": who, "action": action, "target": target, "before": before or 0, "limit": limit},
    )
    return [dict(row) | {"detail": json.loads(row["detail"])} for row in found.mappings()]
