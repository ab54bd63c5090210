"""A request signed with the key in the data folder is good once, for one server, for a minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import local_key
from app.contract.local_key import VALID_SECONDS, Verifier, authorization
from tests.conftest import Clock

KEY = bytes(range(32))
REQUEST = ("POST", "127.0.0.1:8000", "/api/v1/users?x=1")
NOW = 1_800_000_000.0


def verifier(now: float = NOW) -> tuple[Verifier, Clock]:
    clock = Clock(now)
    return Verifier(clock), clock


def test_a_signature_is_good_once() -> None:
    found, _ = verifier()
    header = authorization(KEY, *REQUEST, now=NOW)
    assert found.is_valid(KEY, header, *REQUEST)
    assert not found.is_valid(KEY, header, *REQUEST)
    assert found.is_valid(KEY, authorization(KEY, *REQUEST, now=NOW), *REQUEST)


def test_a_signature_says_nothing_to_another_server_or_for_another_request() -> None:
    found, _ = verifier()
    header = authorization(KEY, *REQUEST, now=NOW)
    for other in (
        ("DELETE", *REQUEST[1:]),
        (REQUEST[0], "yard.example:8000", REQUEST[2]),
        (REQUEST[0], "127.0.0.1:8001", REQUEST[2]),
        (*REQUEST[:2], "/api/v1/users?x=2"),
        (*REQUEST[:2], "/api/v1/users"),
    ):
        assert not found.is_valid(KEY, header, *other), other
    assert not found.is_valid(bytes(32), header, *REQUEST)
    assert found.is_valid(KEY, header, *REQUEST)


@pytest.mark.parametrize("seconds", [VALID_SECONDS + 1, -VALID_SECONDS - 1])
def test_an_old_signature_and_one_of_the_future_are_refused(seconds: float) -> None:
    found, clock = verifier(NOW - 1000)
    clock.now = NOW
    assert not found.is_valid(KEY, authorization(KEY, *REQUEST, now=NOW - seconds), *REQUEST)
    assert found.is_valid(KEY, authorization(KEY, *REQUEST, now=NOW), *REQUEST)


def test_what_an_earlier_process_may_have_taken_is_refused() -> None:
    header = authorization(KEY, *REQUEST, now=NOW - 1)
    assert not verifier(NOW)[0].is_valid(KEY, header, *REQUEST)


def test_signatures_are_forgotten_only_when_they_have_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_key, "MOST_REMEMBERED", 2)
    found, clock = verifier()
    headers = [authorization(KEY, *REQUEST, now=NOW) for _ in range(3)]
    assert [found.is_valid(KEY, header, *REQUEST) for header in headers] == [True, True, False]
    clock.now = NOW + 3 * VALID_SECONDS
    assert not any(found.is_valid(KEY, header, *REQUEST) for header in headers)
    assert found.is_valid(KEY, authorization(KEY, *REQUEST, now=clock.now), *REQUEST)


@given(st.text(max_size=200))
def test_nothing_else_is_a_signature(header: str) -> None:
    found, _ = verifier()
    assert not found.is_valid(KEY, header, *REQUEST)
    assert not found.is_valid(KEY, f"Runyard-Key {header}", *REQUEST)
