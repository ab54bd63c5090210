"""Passwords are hashed by argon2id, and the time that a check takes says nothing about which names exist."""

from __future__ import annotations

from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from app.services.passwords import REMEMBER_SECONDS, Passwords
from tests.conftest import Clock
from tests.people import QUICK

PASSWORDS = Passwords(QUICK)


@given(st.text(max_size=50), st.text(max_size=50))
def test_exactly_the_password_itself_is_right(password: str, other: str) -> None:
    hashed = PASSWORDS.hash(password)
    assert PASSWORDS.verify(hashed, password)
    assert PASSWORDS.verify(hashed, other) == (password == other)


def test_the_hash_is_argon2id_with_the_parameters_of_the_library() -> None:
    hashed = Passwords().hash("correct horse battery")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert Passwords().hash("correct horse battery") != hashed


class Counting(PasswordHasher):
    """Counts what takes time."""

    verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
        self.verified += 1
        return QUICK.verify(hash, password)


def test_a_name_that_does_not_exist_costs_the_same_hash() -> None:
    hasher = Counting(time_cost=1, memory_cost=8, parallelism=1)
    passwords = Passwords(hasher)
    hashed = passwords.hash("correct horse battery")
    for known in (hashed, None, ""):
        before = hasher.verified
        assert not passwords.verify(known, "wrong horse battery")
        assert hasher.verified == before + 1


def test_a_damaged_hash_is_a_wrong_password() -> None:
    assert not PASSWORDS.verify("not a hash", "correct horse battery")


def test_a_password_is_remembered_for_minutes_and_for_its_hash_alone() -> None:
    clock = Clock(0.0)
    passwords = Passwords(QUICK, clock)
    assert not passwords.verify_again("hash", "password")
    passwords.remember("hash", "password")
    assert passwords.verify_again("hash", "password")
    assert not passwords.verify_again("hash", "passwore")
    assert not passwords.verify_again("new hash", "password")
    clock.now = REMEMBER_SECONDS + 1
    assert not passwords.verify_again("hash", "password")


def test_weaker_hashes_of_earlier_versions_are_noticed() -> None:
    assert Passwords().is_outdated(QUICK.hash("correct horse battery"))
    assert not PASSWORDS.is_outdated(QUICK.hash("correct horse battery"))
