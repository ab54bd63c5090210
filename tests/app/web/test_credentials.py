"""Sessions rotate and end, tokens expire, guessing gets slow, and proxies are believed only if they are named."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.requests import Request
from starlette.testclient import TestClient

from app.actions.account import create_token, end_own_sessions, sign_in
from app.actions.people import change_person, remove_person
from app.contract.command_key import ensure_key, read_key, run_token
from app.contract.errors import TooManyAttempts, Unauthorized
from app.contract.settings import Settings
from app.store.database import reading, writing
from app.store.sign_in_session import GRACE_SECONDS, IDLE_SECONDS, LONGEST_SECONDS, ROTATE_SECONDS
from app.web.access import client_address
from app.web.caller import LOCAL_KEY, Caller
from app.web.cookies import is_secure
from app.web.credentials import Credentials
from app.web.dependencies import Parts
from tests.conftest import Clock, Runs
from tests.people import NAMES, PASSWORD, bearer, people, session

MEMBER = NAMES["member"]
WHERE = "192.0.2.1"


@pytest.fixture
def parts(server: FastAPI, clock: Clock) -> Parts:
    """The parts of a server with one person of each role; the clock of its credentials is the test's."""
    found = people(server)
    found.credentials.clock = clock
    return found


def secret_of(parts: Parts, name: str = MEMBER) -> str:
    (secret,) = session(parts, name).values()
    return secret


# Sessions -------------------------------------------------------------------------------------------------------------


def test_a_session_gets_a_new_secret_and_the_old_one_works_a_moment_longer(parts: Parts, clock: Clock) -> None:
    old = secret_of(parts)
    assert parts.credentials.from_session(old, "browser") == (_member(parts, old), None)
    clock.now += ROTATE_SECONDS + 1
    found = parts.credentials.from_session(old, "browser")
    assert found is not None
    new = found[1]
    assert new is not None
    assert new != old
    # Other requests of the page were under way with the old secret; they neither fail nor rotate again.
    assert parts.credentials.from_session(old, "browser") == (found[0], None)
    assert parts.credentials.from_session(new, "browser") == (found[0], None)
    clock.now += GRACE_SECONDS + 1
    assert parts.credentials.from_session(old, "browser") is None
    assert parts.credentials.from_session(new, "browser") is not None


def _member(parts: Parts, secret: str) -> Caller:
    found = parts.credentials.from_session(secret, "browser")
    assert found is not None
    assert (found[0].name, found[0].role) == (MEMBER, "member")
    return found[0]


def test_a_session_ends_when_it_is_idle_and_at_last_in_any_case(parts: Parts, clock: Clock) -> None:
    secret = secret_of(parts)
    clock.now += IDLE_SECONDS + 1
    assert parts.credentials.from_session(secret, "browser") is None
    secret, end = secret_of(parts, "ada"), clock.now + LONGEST_SECONDS
    with writing(parts.engine) as connection:
        connection.execute(text("UPDATE sign_in_session SET seen_at = :end, rotated_at = :end"), {"end": end})
    clock.now = end - 10
    with writing(parts.engine) as connection:
        connection.execute(text("UPDATE sign_in_session SET expires_at = :end"), {"end": end})
    assert parts.credentials.from_session(secret, "browser") is not None
    clock.now = end + 10
    assert parts.credentials.from_session(secret, "browser") is None


def test_the_secret_of_a_browser_is_none_for_a_program_and_the_other_way_round(parts: Parts) -> None:
    assert parts.credentials.from_session(secret_of(parts), "command") is None
    program = bearer(parts, MEMBER)["authorization"].removeprefix("Bearer rys_")
    assert parts.credentials.from_session(program, "browser") is None
    assert parts.credentials.from_session(program, "command") is not None


def test_signing_out_everywhere_disabling_and_removing_end_sessions(parts: Parts) -> None:
    first, second, program = secret_of(parts), secret_of(parts), bearer(parts, MEMBER)["authorization"]
    caller = _member(parts, first)
    end_own_sessions(parts, caller, others=True)
    assert parts.credentials.from_session(second, "browser") is None
    with pytest.raises(Unauthorized, match="runyard login"):
        parts.credentials.from_header(program, "GET", "", "/", WHERE)
    assert parts.credentials.from_session(first, "browser") is not None
    end_own_sessions(parts, caller)
    assert parts.credentials.from_session(first, "browser") is None
    third = secret_of(parts)
    change_person(parts, LOCAL_KEY, MEMBER, disabled=True)
    change_person(parts, LOCAL_KEY, MEMBER, disabled=False)
    assert parts.credentials.from_session(third, "browser") is None
    fourth = secret_of(parts)
    remove_person(parts, LOCAL_KEY, MEMBER)
    assert parts.credentials.from_session(fourth, "browser") is None


def test_no_secret_is_in_the_database(parts: Parts, client: TestClient) -> None:
    secrets = [secret_of(parts), bearer(parts, MEMBER)["authorization"][11:], PASSWORD]
    secrets.append(create_token(parts, LOCAL_KEY, "laptop", "launch", None, of=MEMBER)[1])
    tables = ("user_account", "sign_in_session", "api_token", "audit_event", "sign_in_failure")
    with reading(parts.engine) as connection:
        stored = "".join(str(connection.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)
    assert [secret for secret in secrets if secret in stored or secret.removeprefix("ry_") in stored] == []


# Tokens ---------------------------------------------------------------------------------------------------------------


def test_a_token_expires_and_says_when_it_was_used(parts: Parts, clock: Clock) -> None:
    record, token = create_token(parts, LOCAL_KEY, "ci", "read", 1, of=MEMBER)
    header = f"Bearer {token}"
    assert parts.credentials.from_header(header, "GET", "", "/", WHERE).credential == "token ci"
    with reading(parts.engine) as connection:
        used = connection.execute(text("SELECT used_at FROM api_token WHERE id = :id"), {"id": record.id}).scalar()
    assert used == pytest.approx(clock.now)
    clock.now += 86_401
    with pytest.raises(Unauthorized, match="has expired"):
        parts.credentials.from_header(header, "GET", "", "/", WHERE)


def basic(name: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def test_a_token_may_be_sent_as_a_password_with_its_own_name(parts: Parts) -> None:
    _, token = create_token(parts, LOCAL_KEY, "ci", "log", 1, of=MEMBER)
    for name in (MEMBER, "token", ""):
        assert parts.credentials.from_header(basic(name, token), "GET", "", "/", WHERE).name == MEMBER
    with pytest.raises(Unauthorized):
        parts.credentials.from_header(basic("ada", token), "GET", "", "/", WHERE)


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic ???", "Basic /w==", "Digest x", "Bearer", "Bearer ry_", "Negotiate"]
)
def test_other_headers_are_refused(parts: Parts, header: str) -> None:
    with pytest.raises(Unauthorized):
        parts.credentials.from_header(header, "GET", "", "/", WHERE)


def test_the_command_of_a_run_logs_until_the_run_has_ended(parts: Parts, client: TestClient, runs: Runs) -> None:
    run = runs.add()
    runs.set(run, status="running", created_by=MEMBER)
    header = f"Bearer {run_token(read_key(ensure_key(parts.settings.data_dir)), run)}"
    found = parts.credentials.from_header(header, "GET", "", "/", WHERE)
    assert (found.name, found.credential) == (MEMBER, "command of run 1")
    assert sorted(found.permissions) == ["log", "log-read"]
    runs.finish(run)
    with pytest.raises(Unauthorized, match="its run has ended"):
        parts.credentials.from_header(header, "GET", "", "/", WHERE)
    with pytest.raises(Unauthorized, match="not valid"):
        parts.credentials.from_header(header[:-1] + "x", "GET", "", "/", WHERE)


# Guessing -------------------------------------------------------------------------------------------------------------


def wrong(parts: Parts, name: str = MEMBER, where: str = WHERE) -> Exception:
    with pytest.raises((Unauthorized, TooManyAttempts)) as refused:
        parts.credentials.check_password(name, "wrong horse battery", where)
    return refused.value


def test_ten_wrong_passwords_are_slowed_and_then_the_right_one_has_to_wait_too(parts: Parts, clock: Clock) -> None:
    assert [type(wrong(parts)) for _ in range(5)] == [Unauthorized] * 5
    waits = []
    for _ in range(5):
        refused = wrong(parts)
        assert isinstance(refused, TooManyAttempts)
        waits.append(int(refused.headers["retry-after"]))
        clock.now += waits[-1]
        assert isinstance(wrong(parts), Unauthorized)
    assert waits == [1, 2, 4, 8, 16]
    with pytest.raises(TooManyAttempts):
        parts.credentials.check_password(MEMBER, PASSWORD, WHERE)
    # Somebody else at another address is not slowed by it.
    assert parts.credentials.check_password(MEMBER, PASSWORD, "192.0.2.2").name == MEMBER
    clock.now += 32
    assert parts.credentials.check_password(MEMBER, PASSWORD, WHERE).name == MEMBER
    assert isinstance(wrong(parts), Unauthorized)


def test_many_names_from_one_address_are_slowed(parts: Parts) -> None:
    assert [type(wrong(parts, f"name{number}")) for number in range(20)] == [Unauthorized] * 20
    assert isinstance(wrong(parts, "ada"), TooManyAttempts)


def test_one_name_from_many_addresses_is_slowed_but_not_locked(parts: Parts, clock: Clock) -> None:
    kinds = [type(wrong(parts, MEMBER, f"192.0.2.{number}")) for number in range(50)]
    assert kinds == [Unauthorized] * 50
    refused = wrong(parts, MEMBER, "192.0.2.99")
    assert isinstance(refused, TooManyAttempts)
    assert int(refused.headers["retry-after"]) <= 30


@pytest.mark.parametrize("name", ["nobody", "", "Robert'); DROP TABLE", "a\0b", "x" * 5000, "edsger"])
def test_unknown_names_wrong_passwords_and_accounts_without_one_get_the_same_answer(parts: Parts, name: str) -> None:
    assert str(wrong(parts, name)) == "name or password is wrong"


def test_a_disabled_person_gets_the_answer_of_a_stranger(parts: Parts) -> None:
    change_person(parts, LOCAL_KEY, MEMBER, disabled=True)
    with pytest.raises(Unauthorized, match=r"^name or password is wrong$"):
        parts.credentials.check_password(MEMBER, PASSWORD, WHERE)


def test_signing_in_again_replaces_the_session_of_the_browser(parts: Parts) -> None:
    before = secret_of(parts)
    _, after = sign_in(parts, MEMBER, PASSWORD, WHERE, "", "browser", before)
    assert parts.credentials.from_session(before, "browser") is None
    assert parts.credentials.from_session(after, "browser") is not None


# Proxies --------------------------------------------------------------------------------------------------------------


def request(headers: dict[str, str], sender: str) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": raw}
    return Request(scope | {"scheme": "http", "server": ("127.0.0.1", 8000), "client": (sender, 5000)})


@pytest.mark.parametrize(
    ("trusted", "sender", "forwarded", "address", "secure"),
    [
        ("", "127.0.0.1", "203.0.113.5", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", "203.0.113.5", "203.0.113.5", True),
        ("10.0.0.0/8, ::1", "10.1.2.3", "203.0.113.5, 10.9.9.9", "203.0.113.5", True),
        # What a client writes into the header itself stands before what the proxy adds.
        ("127.0.0.1", "127.0.0.1", "1.2.3.4, 203.0.113.5", "203.0.113.5", True),
        ("127.0.0.1", "192.0.2.9", "203.0.113.5", "192.0.2.9", False),
        ("127.0.0.1", "127.0.0.1", "", "127.0.0.1", True),
    ],
)
def test_headers_of_a_proxy_count_only_from_a_trusted_one(
    engine: Any, trusted: str, sender: str, forwarded: str, address: str, secure: bool
) -> None:
    settings = Settings(trusted_proxies=trusted)
    headers = {"x-forwarded-proto": "https"} | ({"x-forwarded-for": forwarded} if forwarded else {})
    sent = request(headers, sender)
    assert client_address(sent, Credentials(engine, settings)) == address
    assert is_secure(sent, settings) is secure
