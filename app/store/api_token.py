"""Storage of API tokens. The token itself is nowhere: the table has its SHA-256 and its first characters."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.contract.people import Scope
from app.store.sign_in_session import digest

PREFIX: Final = "ry_"
HINT_CHARACTERS: Final = 8
USED_SECONDS: Final = 60.0
MOST_TOKENS: Final = 100
"""Of one person."""


class ApiToken(SQLModel, table=True):
    """A token with which programs act for a person. ``hint``: its first characters; ``expires_at`` NULL: never."""

    __tablename__ = "api_token"

    id: str = Field(primary_key=True)
    user: str = Field(foreign_key="user_account.id", ondelete="CASCADE", index=True)
    name: str
    scope: str
    hash: str = Field(unique=True)
    hint: str
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None


@dataclass(frozen=True)
class TokenRecord:
    """A row of ``api_token``, without the hash."""

    id: str
    user: str
    name: str
    scope: Scope
    hint: str
    created_at: float
    expires_at: float | None
    used_at: float | None


_COLUMNS = 'id, "user", name, scope, hint, created_at, expires_at, used_at'


def _of(user: str | None, word: str) -> str:
    return "" if user is None else f'{word} "user" = :user'


def insert_token(
    connection: Connection, token_id: str, user: str, name: str, scope: Scope, expires_at: float | None, now: float
) -> str:
    """Create a token with 256 random bits and return it."""
    token = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        text(
            'INSERT INTO api_token (id, "user", name, scope, hash, hint, created_at, expires_at)'
            " VALUES (:id, :user, :name, :scope, :hash, :hint, :now, :expires)"
        ),
        {
            "id": token_id,
            "user": user,
            "name": name,
            "scope": scope,
            "hash": digest(token),
            "hint": token[:HINT_CHARACTERS],
            "now": now,
            "expires": expires_at,
        },
    )
    return token


def find_token(connection: Connection, token: str, now: float) -> TokenRecord | None:
    """Find a token that has not expired."""
    found = connection.execute(
        text(f"SELECT {_COLUMNS} FROM api_token WHERE hash = :hash AND (expires_at IS NULL OR expires_at > :now)"),
        {"hash": digest(token), "now": now},
    )
    row = found.mappings().one_or_none()
    return None if row is None else TokenRecord(**row)


def note_use(connection: Connection, token: str, now: float) -> None:
    """Note that a token was used."""
    connection.execute(text("UPDATE api_token SET used_at = :now WHERE id = :id"), {"id": token, "now": now})


def list_tokens(connection: Connection, user: str | None = None) -> list[TokenRecord]:
    """Tokens of a person, or of all people; newest first."""
    found = connection.execute(
        text(f"SELECT {_COLUMNS} FROM api_token{_of(user, ' WHERE')} ORDER BY created_at DESC, id DESC"), {"user": user}
    )
    return [TokenRecord(**row) for row in found.mappings()]


def delete_token(connection: Connection, token: str, user: str | None = None) -> TokenRecord | None:
    """Delete a token, of ``user`` if that is given; returns what it was."""
    found = connection.execute(
        text(f"DELETE FROM api_token WHERE id = :id{_of(user, ' AND')} RETURNING {_COLUMNS}"),
        {"id": token, "user": user},
    )
    row = found.mappings().one_or_none()
    return None if row is None else TokenRecord(**row)
