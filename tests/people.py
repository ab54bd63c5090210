"""People of a test's server: added past the forms, with passwords that are hashed quickly."""

from __future__ import annotations

from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import Engine

from app.actions.account import create_token, start_session
from app.actions.people import add_person
from app.contract.people import ROLES, Role, Scope
from app.services.passwords import Passwords
from app.store.database import reading
from app.store.user import UserRecord, find_user
from app.web.caller import LOCAL_KEY
from app.web.credentials import SESSION_PREFIX, Credentials
from app.web.dependencies import Parts

PASSWORD = "correct horse battery staple"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ADMINISTRATOR = "ada"
NAMES: dict[Role, str] = {"administrator": ADMINISTRATOR, "member": "grace", "viewer": "edsger"}


def quick_passwords(parts: Parts, sign_in: str = "auto") -> Parts:
    """Let a server hash quickly; ``sign_in``: as the setting."""
    parts.settings = parts.settings.model_copy(update={"sign_in": sign_in})
    parts.credentials = Credentials(parts.engine, parts.settings, Passwords(QUICK))
    return parts


def people(server: FastAPI) -> Parts:
    """Add one person of each role, all with PASSWORD; everyone has to sign in from now on."""
    parts = quick_passwords(server.state.parts)
    for role in reversed(ROLES):
        add_person(parts, LOCAL_KEY, NAMES[role], role, PASSWORD)
    return parts


def user(engine: Engine, name: str) -> UserRecord:
    """A person."""
    with reading(engine) as connection:
        found = find_user(connection, name)
    assert found is not None
    return found


def session(parts: Parts, name: str) -> dict[str, str]:
    """The cookies of a browser in which a person has signed in."""
    secret = start_session(parts, user(parts.engine, name), "192.0.2.1", "Browser", "browser")
    return {f"runyard-session-{parts.settings.port}": secret}


def bearer(parts: Parts, name: str, scope: Scope | None = None) -> dict[str, str]:
    """The header of a person's new token; without a scope, of a command line's session."""
    if scope is None:
        secret = start_session(parts, user(parts.engine, name), "192.0.2.1", "runyard", "command")
        return {"authorization": f"Bearer {SESSION_PREFIX}{secret}"}
    return {"authorization": f"Bearer {create_token(parts, LOCAL_KEY, scope, scope, 1, of=name)[1]}"}
