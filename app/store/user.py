"""Storage of people: names, roles and password hashes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, RowMapping, text
from sqlmodel import Field, SQLModel

from app.contract.people import Role


class User(SQLModel, table=True):
    """A person, or a program with an account of its own; without a password hash, tokens, a provider or a proxy do.

    The name stays: runs and the audit log refer to it. ``most_running`` and ``most_queued``: limits of their own; None:
    those of the settings; 0: none. Who was removed can be restored until the row is deleted.
    """

    __tablename__ = "user_account"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    role: str
    password_hash: str = ""
    created_at: float
    disabled_at: float | None = None
    removed_at: float | None = None
    most_running: int | None = Field(None, sa_type=BigInteger)
    most_queued: int | None = Field(None, sa_type=BigInteger)


@dataclass(frozen=True)
class UserRecord:
    """A row of ``user_account``."""

    id: str
    name: str
    role: Role
    password_hash: str
    created_at: float
    disabled_at: float | None
    most_running: int | None = None
    most_queued: int | None = None

    @property
    def enabled(self) -> bool:
        """Whether the person may sign in."""
        return self.disabled_at is None


_COLUMNS = "id, name, role, password_hash, created_at, disabled_at, most_running, most_queued"
_THERE = "removed_at IS NULL"


def _record(row: RowMapping) -> UserRecord:
    return UserRecord(**row)


def find_user(connection: Connection, name: str) -> UserRecord | None:
    """Find a person by name."""
    found = connection.execute(
        text(f"SELECT {_COLUMNS} FROM user_account WHERE name = :name AND {_THERE}"), {"name": name}
    )
    row = found.mappings().one_or_none()
    return None if row is None else _record(row)


def load_user(connection: Connection, user: str) -> UserRecord | None:
    """Load a person by ID."""
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM user_account WHERE id = :id AND {_THERE}"), {"id": user})
    row = found.mappings().one_or_none()
    return None if row is None else _record(row)


def list_users(connection: Connection) -> list[UserRecord]:
    """All people, by name."""
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM user_account WHERE {_THERE} ORDER BY name"))
    return [_record(row) for row in found.mappings()]


def insert_user(connection: Connection, user: UserRecord) -> None:
    """Add a person. Somebody of that name who was removed cannot be restored any more."""
    connection.execute(
        text("DELETE FROM user_account WHERE name = :name AND removed_at IS NOT NULL"), {"name": user.name}
    )
    connection.execute(
        text(
            f"INSERT INTO user_account ({_COLUMNS})"
            " VALUES (:id, :name, :role, :password_hash, :created_at, :disabled_at, :most_running, :most_queued)"
        ),
        vars(user),
    )


def set_role(connection: Connection, user: str, role: Role) -> None:
    """Change a person's role."""
    connection.execute(text("UPDATE user_account SET role = :role WHERE id = :id"), {"id": user, "role": role})


def set_password_hash(connection: Connection, user: str, password_hash: str) -> None:
    """Change a person's password."""
    connection.execute(
        text("UPDATE user_account SET password_hash = :hash WHERE id = :id"), {"id": user, "hash": password_hash}
    )


def set_disabled(connection: Connection, user: str, disabled_at: float | None) -> None:
    """Disable a person, or enable one again with None."""
    connection.execute(
        text("UPDATE user_account SET disabled_at = :at WHERE id = :id"), {"id": user, "at": disabled_at}
    )


def set_limits(connection: Connection, user: str, most_running: int | None, most_queued: int | None) -> None:
    """Change a person's own limits; None: those of the settings."""
    connection.execute(
        text("UPDATE user_account SET most_running = :running, most_queued = :queued WHERE id = :id"),
        {"id": user, "running": most_running, "queued": most_queued},
    )


def remove_user(connection: Connection, user: str, now: float) -> None:
    """Remove a person: nothing signs in as them, until they are restored."""
    connection.execute(text("UPDATE user_account SET removed_at = :now WHERE id = :id"), {"id": user, "now": now})


def restore_user(connection: Connection, name: str) -> bool:
    """Restore a person who was removed; False if nobody of that name was."""
    restored = connection.execute(
        text("UPDATE user_account SET removed_at = NULL WHERE name = :name AND removed_at IS NOT NULL"), {"name": name}
    )
    return restored.rowcount == 1


def removed_users(connection: Connection) -> list[tuple[str, float]]:
    """Names of people who can be restored, and when they were removed, newest first."""
    found = connection.execute(
        text("SELECT name, removed_at FROM user_account WHERE removed_at IS NOT NULL ORDER BY removed_at DESC, name")
    )
    return [(row.name, row.removed_at) for row in found]


def purge_users(connection: Connection, before: float) -> list[str]:
    """Delete people who were removed before ``before`` with their tokens; returns their names."""
    gone = connection.execute(
        text("DELETE FROM user_account WHERE removed_at < :before RETURNING name"), {"before": before}
    )
    return list(gone.scalars())


def any_user(connection: Connection) -> bool:
    """Tell whether anyone was added."""
    return connection.execute(text(f"SELECT 1 FROM user_account WHERE {_THERE} LIMIT 1")).one_or_none() is not None


def any_limit(connection: Connection) -> bool:
    """Tell whether anyone has a limit of their own on active runs."""
    found = connection.execute(text(f"SELECT 1 FROM user_account WHERE most_running > 0 AND {_THERE} LIMIT 1"))
    return found.one_or_none() is not None


def administrators(connection: Connection) -> list[str]:
    """IDs of the people who may sign in and add others."""
    found = connection.execute(
        text(
            f"SELECT id FROM user_account WHERE role = 'administrator' AND disabled_at IS NULL AND {_THERE} ORDER BY id"
        )
    )
    return list(found.scalars())
