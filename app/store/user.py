"""Storage of people: names, roles and password hashes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text
from sqlmodel import Field, SQLModel

from app.contract.people import Role


class User(SQLModel, table=True):
    """A person, or a program with an account of its own; without a password hash, tokens, a provider or a proxy do.

    The name stays: runs and the audit log refer to it.
    """

    __tablename__ = "user_account"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    role: str
    password_hash: str = ""
    created_at: float
    disabled_at: float | None = None


@dataclass(frozen=True)
class UserRecord:
    """A row of ``user_account``."""

    id: str
    name: str
    role: Role
    password_hash: str
    created_at: float
    disabled_at: float | None

    @property
    def enabled(self) -> bool:
        """Whether the person may sign in."""
        return self.disabled_at is None


_COLUMNS = "id, name, role, password_hash, created_at, disabled_at"


def _record(row: RowMapping) -> UserRecord:
    return UserRecord(**row)


def find_user(connection: Connection, name: str) -> UserRecord | None:
    """Find a person by name."""
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM user_account WHERE name = :name"), {"name": name})
    row = found.mappings().one_or_none()
    return None if row is None else _record(row)


def load_user(connection: Connection, user: str) -> UserRecord | None:
    """Load a person by ID."""
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM user_account WHERE id = :id"), {"id": user})
    row = found.mappings().one_or_none()
    return None if row is None else _record(row)


def list_users(connection: Connection) -> list[UserRecord]:
    """All people, by name."""
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM user_account ORDER BY name"))
    return [_record(row) for row in found.mappings()]


def insert_user(connection: Connection, user: UserRecord) -> None:
    """Add a person."""
    connection.execute(
        text(
            f"INSERT INTO user_account ({_COLUMNS})"
            " VALUES (:id, :name, :role, :password_hash, :created_at, :disabled_at)"
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


def delete_user(connection: Connection, user: str) -> None:
    """Delete a person with all sessions and tokens."""
    connection.execute(text("DELETE FROM user_account WHERE id = :id"), {"id": user})


def any_user(connection: Connection) -> bool:
    """Tell whether anyone was added."""
    return connection.execute(text("SELECT 1 FROM user_account LIMIT 1")).one_or_none() is not None


def administrators(connection: Connection) -> list[str]:
    """IDs of the people who may sign in and add others."""
    found = connection.execute(
        text("SELECT id FROM user_account WHERE role = 'administrator' AND disabled_at IS NULL ORDER BY id")
    )
    return list(found.scalars())
