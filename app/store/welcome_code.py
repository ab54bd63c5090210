"""Storage of the one-time code with which the first administrator is created."""

from __future__ import annotations

import secrets
from typing import Final

from sqlalchemy import Connection, text
from sqlmodel import Field, SQLModel

from app.store.sign_in_session import digest

VALID_SECONDS: Final = 3600.0


class WelcomeCode(SQLModel, table=True):
    """A code that was printed, as SHA-256; a new one replaces it."""

    __tablename__ = "welcome_code"

    hash: str = Field(primary_key=True)
    expires_at: float


def create_code(connection: Connection, now: float) -> str:
    """Create a code and return it; earlier ones stop working."""
    code = secrets.token_urlsafe(24)
    connection.execute(text("DELETE FROM welcome_code"))
    connection.execute(
        text("INSERT INTO welcome_code (hash, expires_at) VALUES (:hash, :expires)"),
        {"hash": digest(code), "expires": now + VALID_SECONDS},
    )
    return code


def is_valid_code(connection: Connection, code: str, now: float) -> bool:
    """Tell whether a code would be accepted."""
    found = connection.execute(
        text("SELECT 1 FROM welcome_code WHERE hash = :hash AND expires_at > :now"), {"hash": digest(code), "now": now}
    )
    return found.one_or_none() is not None


def use_code(connection: Connection, code: str, now: float) -> bool:
    """Use up a code; False if it is not valid."""
    used = connection.execute(
        text("DELETE FROM welcome_code WHERE hash = :hash AND expires_at > :now"), {"hash": digest(code), "now": now}
    )
    return bool(used.rowcount)
