"""Storage of the tokens with which other machines join as workers: their SHA-256, never the token itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Connection, text
from sqlmodel import Field, SQLModel

from app.store.sign_in_session import digest

MOST_TOKENS: Final = 100
KEPT_SECONDS: Final = 7 * 86_400.0
"""How long a token is listed after it has expired."""


class WorkerToken(SQLModel, table=True):
    """A token. ``uses_left``: how many more machines may join; NULL: any number. ``last_host``: the last one."""

    __tablename__ = "worker_token"

    id: str = Field(primary_key=True)
    hash: str = Field(unique=True)
    created_by: str
    created_at: float
    expires_at: float
    uses_left: int | None = Field(None, sa_type=BigInteger)
    last_host: str = ""
    used_at: float | None = None


@dataclass(frozen=True)
class WorkerTokenRecord:
    """A row of ``worker_token``, without the hash."""

    id: str
    created_by: str
    created_at: float
    expires_at: float
    uses_left: int | None
    last_host: str
    used_at: float | None

    def is_valid(self, now: float) -> bool:
        """Whether a machine can join with it."""
        return self.expires_at > now and self.uses_left != 0


_COLUMNS = "id, created_by, created_at, expires_at, uses_left, last_host, used_at"


def insert_token(
    connection: Connection, token_id: str, created_by: str, now: float, expires_at: float, uses: int | None
) -> str:
    """Create a token and return its secret of 192 random bits; forget those that expired long ago."""
    secret = secrets.token_urlsafe(24)
    connection.execute(text("DELETE FROM worker_token WHERE expires_at < :old"), {"old": now - KEPT_SECONDS})
    connection.execute(
        text(
            "INSERT INTO worker_token (id, hash, created_by, created_at, expires_at, uses_left, last_host)"
            " VALUES (:id, :hash, :by, :now, :expires, :uses, '')"
        ),
        {
            "id": token_id,
            "hash": digest(secret),
            "by": created_by,
            "now": now,
            "expires": expires_at,
            "uses": uses,
        },
    )
    return secret


def use_token(connection: Connection, secret: str, host: str, now: float) -> WorkerTokenRecord | None:
    """Use a token up by one machine; None if it is unknown, expired or used up, and nothing changes."""
    found = connection.execute(
        text(
            "UPDATE worker_token SET uses_left = uses_left - 1, last_host = :host, used_at = :now WHERE hash = :hash"
            f" AND expires_at > :now AND (uses_left IS NULL OR uses_left > 0) RETURNING {_COLUMNS}"
        ),
        {"hash": digest(secret), "host": host, "now": now},
    )
    row = found.mappings().one_or_none()
    return None if row is None else WorkerTokenRecord(**row)


def find_token(connection: Connection, secret: str) -> WorkerTokenRecord | None:
    """Find a token by its secret, valid or not."""
    statement = text(f"SELECT {_COLUMNS} FROM worker_token WHERE hash = :hash")
    found = connection.execute(statement, {"hash": digest(secret)})
    row = found.mappings().one_or_none()
    return None if row is None else WorkerTokenRecord(**row)


def list_tokens(connection: Connection) -> list[WorkerTokenRecord]:
    """All tokens, newest first."""
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM worker_token ORDER BY created_at DESC, id DESC"))
    return [WorkerTokenRecord(**row) for row in found.mappings()]


def delete_token(connection: Connection, token_id: str) -> bool:
    """Delete a token; False if there is none."""
    return bool(connection.execute(text("DELETE FROM worker_token WHERE id = :id"), {"id": token_id}).rowcount)
