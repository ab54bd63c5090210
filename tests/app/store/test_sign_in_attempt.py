"""A sign-in that is under way at a provider comes back once, in time, to the browser that started it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from app.store import sign_in_attempt
from app.store.database import reading, rows, writing
from app.store.sign_in_attempt import VALID_SECONDS, AttemptRecord, insert_attempt, take_attempt
from tests.conftest import Runs

ATTEMPT = AttemptRecord("nonce", "verifier", "https://yard.example/sign-in/oidc/callback", "/runs")
NOW = 1_700_000_000.0


def add(engine: Engine, state: str, address: str = "192.0.2.1", now: float = NOW) -> None:
    with writing(engine) as connection:
        insert_attempt(connection, state, f"browser of {state}", ATTEMPT, address, now)


def take(engine: Engine, state: str, browser: str | None = None, now: float = NOW) -> AttemptRecord | None:
    with writing(engine) as connection:
        return take_attempt(connection, state, browser or f"browser of {state}", now)


def test_an_attempt_is_taken_once_and_by_its_browser_alone(engine: Engine, runs: Runs) -> None:
    add(engine, "a")
    with reading(engine) as connection:
        (row,) = rows(connection.exec_driver_sql("SELECT * FROM sign_in_attempt"))
    assert "browser of a" not in row.values()
    assert "a" not in row.values()
    assert take(engine, "a", "another browser") is None
    assert take(engine, "b") is None
    assert take(engine, "a") == ATTEMPT
    assert take(engine, "a") is None


def test_an_attempt_expires_and_is_forgotten(engine: Engine, runs: Runs) -> None:
    add(engine, "a")
    assert take(engine, "a", now=NOW + VALID_SECONDS) is None
    add(engine, "b", now=NOW + VALID_SECONDS - 1)
    add(engine, "c", now=NOW + VALID_SECONDS)
    assert runs.sql("SELECT count(*) FROM sign_in_attempt") == [(2,)]
    assert take(engine, "b", now=NOW + 2 * VALID_SECONDS - 2) == ATTEMPT


def test_whoever_starts_many_loses_the_oldest_and_nobody_elses(
    engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_attempt, "MOST_OF_AN_ADDRESS", 3)
    add(engine, "mine", "192.0.2.2")
    for number in range(5):
        add(engine, str(number), now=NOW + 1 + number)
    assert [take(engine, str(number)) is not None for number in range(5)] == [False, False, True, True, True]
    assert take(engine, "mine") == ATTEMPT


def test_from_however_many_addresses_only_so_many_are_kept(
    engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in_attempt, "MOST", 3)
    for number in range(5):
        add(engine, str(number), f"2001:db8::{number}", NOW + number)
    assert [take(engine, str(number)) is not None for number in range(5)] == [False, False, True, True, True]
