"""Storage of sign-ins that have gone to an OpenID Connect provider and not come back yet; each comes back once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Index, text
from sqlmodel import Field, SQLModel

from app.store.sign_in_session import digest

VALID_SECONDS: Final = 600.0
MOST_OF_AN_ADDRESS: Final = 20
MOST: Final = 20_000
"""Nobody needs a credential to start one, so whoever starts many loses the oldest."""


class SignInAttempt(SQLModel, table=True):
    """``hash``: of the state; ``browser_hash``: of the secret in the cookie of the browser that started it."""

    __tablename__ = "sign_in_attempt"
    __table_args__ = (
        Index("ix_sign_in_attempt_address", "address", "created_at"),
        Index("ix_sign_in_attempt_created_at", "created_at"),
    )

    hash: str = Field(primary_key=True)
    browser_hash: str
    nonce: str
    verifier: str
    redirect: str
    target: str
    address: str
    created_at: float


@dataclass(frozen=True)
class AttemptRecord:
    """``redirect``: where the provider sends the browser; ``target``: the page to go on to."""

    nonce: str
    verifier: str
    redirect: str
    target: str


def insert_attempt(
    connection: Connection, state: str, browser: str, attempt: AttemptRecord, address: str, now: float
) -> None:
    """Add an attempt, and forget old ones."""
    connection.execute(text("DELETE FROM sign_in_attempt WHERE created_at <= :since"), {"since": now - VALID_SECONDS})
    connection.execute(
        text(
            "DELETE FROM sign_in_attempt WHERE hash IN (SELECT hash FROM sign_in_attempt WHERE address = :address"
            " ORDER BY created_at DESC, hash LIMIT :most OFFSET :kept)"
        ),
        {"address": address[:100], "most": MOST, "kept": MOST_OF_AN_ADDRESS - 1},
    )
    connection.execute(
        text(
            "DELETE FROM sign_in_attempt WHERE hash IN (SELECT hash FROM sign_in_attempt"
            " ORDER BY created_at DESC, hash LIMIT :most OFFSET :kept)"
        ),
        {"most": MOST, "kept": MOST - 1},
    )
    connection.execute(
        text(
            "INSERT INTO sign_in_attempt (hash, browser_hash, nonce, verifier, redirect, target, address, created_at)"
            " VALUES (:hash, :browser_hash, :nonce, :verifier, :redirect, :target, :address, :now)"
        ),
        {
            "hash": digest(state),
            "browser_hash": digest(browser),
            **vars(attempt),
            "address": address[:100],
            "now": now,
        },
    )


def take_attempt(connection: Connection, state: str, browser: str, now: float) -> AttemptRecord | None:
    """Use up an attempt; None if there is none, it is too old, or another browser has started it."""
    row = (
        connection.execute(
            text(
                "DELETE FROM sign_in_attempt"
                " WHERE hash = :hash AND browser_hash = :browser_hash AND created_at > :since"
                " RETURNING nonce, verifier, redirect, target"
            ),
            {"hash": digest(state), "browser_hash": digest(browser), "since": now - VALID_SECONDS},
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else AttemptRecord(**row)
