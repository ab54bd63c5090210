"""Who people are at a provider: one person for a subject, one subject for a person, and nothing left when they go."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from app.store.database import reading, writing
from app.store.user import UserRecord, insert_user, purge_users, remove_user
from app.store.user_identity import (
    IdentityRecord,
    delete_identity,
    find_identity,
    insert_identity,
    is_subject,
    list_subjects,
)

ISSUER = "https://login.example.org"


@pytest.fixture
def two(engine: Engine) -> Engine:
    """A database with two people."""
    with writing(engine) as connection:
        for name in ("ada", "grace"):
            insert_user(connection, UserRecord(name, name, "member", "", 1.0, None))
    return engine


def identity(subject: str, user: str, issuer: str = ISSUER) -> IdentityRecord:
    return IdentityRecord(issuer, subject, user, "provider", 1.0)


def test_a_person_is_found_by_issuer_and_subject(two: Engine) -> None:
    with writing(two) as connection:
        insert_identity(connection, identity("s-1", "ada"))
        insert_identity(connection, identity("s-1", "grace", "https://other.example.org"))
    with reading(two) as connection:
        assert find_identity(connection, ISSUER, "s-1") == identity("s-1", "ada")
        assert find_identity(connection, ISSUER, "S-1") is None
        assert list_subjects(connection, ISSUER) == {"ada": "s-1"}
    with writing(two) as connection:
        assert delete_identity(connection, "ada", ISSUER)
        assert not delete_identity(connection, "ada", ISSUER)
        assert list_subjects(connection, "https://other.example.org") == {"grace": "s-1"}


@pytest.mark.parametrize("second", [identity("s-1", "grace"), identity("s-2", "ada"), identity("s-3", "nobody")])
def test_the_database_refuses_what_would_be_ambiguous(two: Engine, second: IdentityRecord) -> None:
    with writing(two) as connection:
        insert_identity(connection, identity("s-1", "ada"))
    with pytest.raises(IntegrityError), writing(two) as connection:
        insert_identity(connection, second)


def test_who_was_removed_for_good_leaves_no_link(two: Engine) -> None:
    with writing(two) as connection:
        insert_identity(connection, identity("s-1", "ada"))
        remove_user(connection, "ada", 2.0)
        assert find_identity(connection, ISSUER, "s-1") == identity("s-1", "ada")
        assert purge_users(connection, 3.0) == ["ada"]
        assert find_identity(connection, ISSUER, "s-1") is None


def test_a_subject_is_text_that_a_database_can_keep() -> None:
    assert [is_subject(each) for each in ("x", "x" * 255, "é 1")] == [True] * 3
    assert [is_subject(each) for each in ("", "x" * 256, "a\0", "a\n")] == [False] * 4
