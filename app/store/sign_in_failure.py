"""Storage of failed sign-ins: how long the next attempt has to wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Index, text
from sqlmodel import Field, SQLModel

from app.store.sign_in_session import digest

FORGET_SECONDS: Final = 3600.0
LONGEST_WAIT_SECONDS: Final = 300.0


class SignInFailure(SQLModel, table=True):
    """Failed attempts under one key: a name with an address, an address, or a name. ``key`` is a hash."""

    __tablename__ = "sign_in_failure"
    __table_args__ = (Index("ix_sign_in_failure_last_at", "last_at"),)

    key: str = Field(primary_key=True)
    count: int
    last_at: float


@dataclass(frozen=True)
class Limit:
    """``free`` attempts fail without a wait; each further one doubles it, up to ``longest`` seconds."""

    kind: str
    free: int
    longest: float = LONGEST_WAIT_SECONDS

    def wait(self, count: int) -> float:
        """Seconds to wait after ``count`` failures."""
        return 0.0 if count < self.free else min(self.longest, 2.0 ** min(count - self.free, 20))


NAME_AT_ADDRESS: Final = Limit("both", 5)
ADDRESS: Final = Limit("address", 20)
NAME: Final = Limit("name", 50, 30.0)
"""Whoever guesses from many addresses must not lock the person out for long."""


def _keys(name: str, address: str) -> list[tuple[Limit, str]]:
    return [
        (NAME_AT_ADDRESS, digest(f"both\n{name}\n{address}")),
        (ADDRESS, digest(f"address\n{address}")),
        (NAME, digest(f"name\n{name}")),
    ]


def seconds_to_wait(connection: Connection, name: str, address: str, now: float) -> float:
    """How many seconds the next attempt has to wait; 0 if none."""
    longest = 0.0
    for limit, key in _keys(name, address):
        found = connection.execute(
            text("SELECT count AS failures, last_at FROM sign_in_failure WHERE key = :key AND last_at > :since"),
            {"key": key, "since": now - FORGET_SECONDS},
        ).one_or_none()
        if found is not None:
            longest = max(longest, found.last_at + limit.wait(found.failures) - now)
    return longest


def record_failure(connection: Connection, name: str, address: str, now: float) -> None:
    """Count a failed attempt, and forget old ones."""
    connection.execute(text("DELETE FROM sign_in_failure WHERE last_at <= :since"), {"since": now - FORGET_SECONDS})
    for _, key in _keys(name, address):
        connection.execute(
            text(
                "INSERT INTO sign_in_failure (key, count, last_at) VALUES (:key, 1, :now)"
                " ON CONFLICT (key) DO UPDATE SET count = sign_in_failure.count + 1, last_at = :now"
            ),
            {"key": key, "now": now},
        )


def forget_failures(connection: Connection, name: str, address: str) -> None:
    """Forget the failures of a name at an address after a success."""
    connection.execute(
        text("DELETE FROM sign_in_failure WHERE key = :key"), {"key": digest(f"both\n{name}\n{address}")}
    )
