"""Storage of who people are at an OpenID Connect provider: by issuer and subject, never by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, UniqueConstraint, text
from sqlmodel import Field, SQLModel

LinkedBy = Literal["provider", "administrator"]
LONGEST_SUBJECT: Final = 255


class UserIdentity(SQLModel, table=True):
    """A person at a provider. ``subject``: what the provider calls them, which it never gives to anybody else.

    ``linked_by``: "provider" if the person was added because the provider's groups allow it, which then also decide
    about the role; "administrator" if an administrator has linked a person who was here.
    """

    __tablename__ = "user_identity"
    __table_args__ = (UniqueConstraint("user", "issuer"),)

    issuer: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    user: str = Field(foreign_key="user_account.id", ondelete="CASCADE")
    linked_by: str
    created_at: float


@dataclass(frozen=True)
class IdentityRecord:
    """A row of ``user_identity``."""

    issuer: str
    subject: str
    user: str
    linked_by: LinkedBy
    created_at: float


_COLUMNS = 'issuer, subject, "user", linked_by, created_at'


def is_subject(subject: str) -> bool:
    """Tell whether a text can be a subject."""
    return 1 <= len(subject) <= LONGEST_SUBJECT and subject.isprintable()


def find_identity(connection: Connection, issuer: str, subject: str) -> IdentityRecord | None:
    """Find who a subject of a provider is here."""
    found = connection.execute(
        text(f"SELECT {_COLUMNS} FROM user_identity WHERE issuer = :issuer AND subject = :subject"),
        {"issuer": issuer, "subject": subject},
    )
    row = found.mappings().one_or_none()
    return None if row is None else IdentityRecord(**row)


def list_subjects(connection: Connection, issuer: str) -> dict[str, str]:
    """Subjects at a provider by the ID of the person."""
    found = connection.execute(
        text('SELECT "user", subject FROM user_identity WHERE issuer = :issuer'), {"issuer": issuer}
    )
    return {row.user: row.subject for row in found}


def insert_identity(connection: Connection, identity: IdentityRecord) -> None:
    """Link a person, who has no other subject at this provider."""
    connection.execute(
        text(f"INSERT INTO user_identity ({_COLUMNS}) VALUES (:issuer, :subject, :user, :linked_by, :created_at)"),
        vars(identity),
    )


def delete_identity(connection: Connection, user: str, issuer: str) -> bool:
    """Unlink a person from a provider; False if there was no link."""
    gone = connection.execute(
        text('DELETE FROM user_identity WHERE "user" = :user AND issuer = :issuer'), {"user": user, "issuer": issuer}
    )
    return bool(gone.rowcount)
