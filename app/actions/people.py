"""Add, change and remove people; each change is written to the audit log with it."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection

from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.people import NAME, Role, name_problem, password_problem
from app.contract.spec import FieldError
from app.store import user as user_store
from app.store.audit_event import record_event
from app.store.database import reading, writing
from app.store.run import new_id
from app.store.sign_in_session import end_sessions
from app.store.user import UserRecord
from app.store.welcome_code import create_code, is_valid_code, use_code
from app.web.caller import Caller
from app.web.dependencies import Parts

LAST = "this is the last administrator; give somebody else that role first"
EXPIRED = "this link was used or has expired; restart Runyard, and it prints another"


def invalid(field: str, message: str) -> Invalid:
    """An error in one field."""
    return Invalid(message, [FieldError(field, message)])


def audit(connection: Connection, caller: Caller, action: str, target: str = "", **detail: Any) -> None:
    """Write what a caller did to the audit log."""
    record_event(
        connection,
        at=time.time(),
        who=caller.who,
        credential=caller.credential,
        address=caller.address,
        action=action,
        target=target,
        detail=detail,
    )


def hash_new(parts: Parts, password: str, name: str, field: str = "password") -> str:
    """Hash a new password. Raises Invalid if it is too weak."""
    if problem := password_problem(password, name):
        raise invalid(field, problem)
    return parts.credentials.passwords.hash(password)


def find(connection: Connection, name: str) -> UserRecord:
    """Find a person by name. Raises NotFound."""
    name = name.strip().lower()
    found = user_store.find_user(connection, name) if NAME.fullmatch(name) else None
    if found is None:
        raise NotFound(f"nobody is called '{name[:60]}'")
    return found


def list_people(parts: Parts) -> list[UserRecord]:
    """All people, by name."""
    with reading(parts.engine) as connection:
        return user_store.list_users(connection)


def add_person(parts: Parts, caller: Caller, name: str, role: Role | None, password: str | None) -> UserRecord:
    """Add a person; the first must be an administrator, which is also the first one's default role.

    Without a password, only tokens, a provider or a proxy sign the account in. Raises Invalid and Conflict.
    """
    name = name.strip().lower()
    if problem := name_problem(name):
        raise invalid("name", problem)
    # Takes a while, so not within the transaction.
    password_hash = "" if password is None else hash_new(parts, password, name)
    with writing(parts.engine) as connection:
        added = _insert(connection, caller, name, role, password_hash)
    parts.credentials.people_changed()
    return added


def _insert(connection: Connection, caller: Caller, name: str, role: Role | None, password_hash: str) -> UserRecord:
    if user_store.find_user(connection, name) is not None:
        raise Conflict(f"somebody is already called '{name}'")
    first = not user_store.any_user(connection)
    role = role or ("administrator" if first else "member")
    if first and role != "administrator":
        raise invalid("role", "the first person must be an administrator")
    if first and not password_hash:
        raise invalid("password", "the first administrator needs a password")
    now = time.time()
    added = UserRecord(new_id(now, "p"), name, role, password_hash, now, None)
    user_store.insert_user(connection, added)
    audit(connection, caller, "person.add", name, role=role)
    return added


def change_person(
    parts: Parts,
    caller: Caller,
    name: str,
    *,
    role: Role | None = None,
    password: str | None = None,
    disabled: bool | None = None,
) -> UserRecord:
    """Change a person's role, set a new password, or disable or enable them; what is None stays.

    A new password, and disabling, end their sessions. Raises NotFound, Invalid and Conflict.
    """
    password_hash = None if password is None else hash_new(parts, password, name.strip().lower())
    with writing(parts.engine) as connection:
        person = find(connection, name)
        loses = (role not in (None, "administrator") or disabled is True) and person.role == "administrator"
        if loses and user_store.administrators(connection) == [person.id]:
            raise Conflict(LAST)
        if role is not None and role != person.role:
            user_store.set_role(connection, person.id, role)
            audit(connection, caller, "person.role", person.name, before=person.role, role=role)
        if password_hash is not None:
            user_store.set_password_hash(connection, person.id, password_hash)
            end_sessions(connection, person.id, but=caller.session if caller.user == person.id else None)
            audit(connection, caller, "person.password", person.name)
        if disabled is not None and disabled == person.enabled:
            user_store.set_disabled(connection, person.id, time.time() if disabled else None)
            if disabled:
                end_sessions(connection, person.id)
            audit(connection, caller, "person.disable" if disabled else "person.enable", person.name)
        return find(connection, name)


def remove_person(parts: Parts, caller: Caller, name: str) -> None:
    """Remove a person with all sessions and tokens; what they did keeps their name.

    The last person can be removed where nobody had to sign in before the first was added. Raises NotFound and Conflict.
    """
    with writing(parts.engine) as connection:
        person = find(connection, name)
        if user_store.administrators(connection) == [person.id]:
            others = len(user_store.list_users(connection)) > 1
            if others or parts.credentials.always:
                raise Conflict(LAST)
        user_store.delete_user(connection, person.id)
        audit(connection, caller, "person.remove", person.name)
    parts.credentials.people_changed()


# The first administrator ----------------------------------------------------------------------------------------------


def create_welcome_code(parts: Parts) -> str | None:
    """Create the one-time code for the first administrator; None if there is an administrator already."""
    with writing(parts.engine) as connection:
        if user_store.administrators(connection):
            return None
        return create_code(connection, time.time())


def is_welcome(parts: Parts, code: str) -> bool:
    """Tell whether a code can create the first administrator."""
    with reading(parts.engine) as connection:
        return not user_store.administrators(connection) and is_valid_code(connection, code, time.time())


def welcome(parts: Parts, caller: Caller, code: str, name: str, password: str) -> UserRecord:
    """Create the first administrator with a one-time code. Raises Conflict and Invalid."""
    if not is_welcome(parts, code):
        raise Conflict(EXPIRED)
    name = name.strip().lower()
    if problem := name_problem(name):
        raise invalid("name", problem)
    password_hash = hash_new(parts, password, name)
    with writing(parts.engine) as connection:
        if user_store.administrators(connection) or not use_code(connection, code, time.time()):
            raise Conflict(EXPIRED)
        added = _insert(connection, caller, name, "administrator", password_hash)
    parts.credentials.people_changed()
    return added
