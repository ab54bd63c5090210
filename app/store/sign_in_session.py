"""Storage of sign-in sessions. The secret itself is nowhere: the table has its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, Index, text
from sqlmodel import Field, SQLModel

Kind = Literal["browser", "command"]

IDLE_SECONDS: Final = 14 * 86_400.0
LONGEST_SECONDS: Final = 90 * 86_400.0
ROTATE_SECONDS: Final = 12 * 3600.0
GRACE_SECONDS: Final = 120.0
"""How long the secret before a rotation is still accepted: requests that were under way use it."""
SEEN_SECONDS: Final = 60.0


class SignInSession(SQLModel, table=True):
    """A browser, or a command line, in which someone signed in. ``previous_hash``: of the secret before a rotation."""

    __tablename__ = "sign_in_session"
    __table_args__ = (Index("ix_sign_in_session_previous_hash", "previous_hash"),)

    id: int | None = Field(None, primary_key=True)
    user: str = Field(foreign_key="user_account.id", ondelete="CASCADE", index=True)
    kind: str
    hash: str = Field(unique=True)
    previous_hash: str = ""
    created_at: float
    seen_at: float
    rotated_at: float
    expires_at: float
    address: str = ""
    agent: str = ""


@dataclass(frozen=True)
class SessionRecord:
    """A session that is valid now; ``stale``: its secret was replaced a moment ago."""

    id: int
    user: str
    kind: Kind
    created_at: float
    seen_at: float
    rotated_at: float
    expires_at: float
    address: str
    agent: str
    stale: bool = False


_COLUMNS = 'id, "user", kind, created_at, seen_at, rotated_at, expires_at, address, agent'


def digest(secret: str) -> str:
    """SHA-256 of a random secret, in hexadecimal. Random secrets need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def start_session(connection: Connection, user: str, kind: Kind, address: str, agent: str, now: float) -> str:
    """Start a session and return its secret."""
    secret = secrets.token_urlsafe(32)
    connection.execute(
        text(
            'INSERT INTO sign_in_session ("user", kind, hash, previous_hash, created_at, seen_at, rotated_at,'
            " expires_at, address, agent)"
            " VALUES (:user, :kind, :hash, '', :now, :now, :now, :expires, :address, :agent)"
        ),
        {
            "user": user,
            "kind": kind,
            "hash": digest(secret),
            "now": now,
            "expires": now + LONGEST_SECONDS,
            "address": address[:100],
            "agent": "".join(filter(str.isprintable, agent[:200])),
        },
    )
    connection.execute(
        text("DELETE FROM sign_in_session WHERE expires_at < :now OR seen_at < :idle"),
        {"now": now, "idle": now - IDLE_SECONDS},
    )
    return secret


def find_session(connection: Connection, secret: str, kind: Kind, now: float) -> SessionRecord | None:
    """Find the session of a secret; None if there is none, or it has ended."""
    row = (
        connection.execute(
            text(
                f"SELECT {_COLUMNS}, hash <> :hash AS stale FROM sign_in_session"
                " WHERE (hash = :hash OR (previous_hash = :hash AND rotated_at > :grace))"
                " AND kind = :kind AND expires_at > :now AND seen_at > :idle"
            ),
            {
                "hash": digest(secret),
                "kind": kind,
                "now": now,
                "grace": now - GRACE_SECONDS,
                "idle": now - IDLE_SECONDS,
            },
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else SessionRecord(**{**row, "stale": bool(row["stale"])})


def rotate(connection: Connection, session: SessionRecord, now: float) -> str | None:
    """Replace the secret of a session; returns the new one, or None if another request was faster."""
    secret = secrets.token_urlsafe(32)
    changed = connection.execute(
        text(
            "UPDATE sign_in_session SET previous_hash = hash, hash = :hash, rotated_at = :now, seen_at = :now"
            " WHERE id = :id AND rotated_at = :before"
        ),
        {"id": session.id, "hash": digest(secret), "now": now, "before": session.rotated_at},
    )
    return secret if changed.rowcount else None


def touch(connection: Connection, session: int, now: float) -> None:
    """Note that a session is in use."""
    connection.execute(text("UPDATE sign_in_session SET seen_at = :now WHERE id = :id"), {"id": session, "now": now})


def list_sessions(connection: Connection, user: str, now: float) -> list[SessionRecord]:
    """A person's valid sessions, last used first."""
    found = connection.execute(
        text(
            f'SELECT {_COLUMNS} FROM sign_in_session WHERE "user" = :user AND expires_at > :now AND seen_at > :idle'
            " ORDER BY seen_at DESC, id DESC"
        ),
        {"user": user, "now": now, "idle": now - IDLE_SECONDS},
    )
    return [SessionRecord(**row) for row in found.mappings()]


def end_session(connection: Connection, user: str, session: int) -> bool:
    """End one session of a person; False if there is none."""
    ended = connection.execute(
        text('DELETE FROM sign_in_session WHERE id = :id AND "user" = :user'), {"id": session, "user": user}
    )
    return bool(ended.rowcount)


def end_sessions(connection: Connection, user: str, but: int | None = None) -> int:
    """End all sessions of a person but one; returns their number."""
    ended = connection.execute(
        text('DELETE FROM sign_in_session WHERE "user" = :user AND id <> :but'), {"user": user, "but": but or 0}
    )
    return int(ended.rowcount)
