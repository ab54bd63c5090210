"""Add, change and remove people; each change is written to the audit log with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from app.actions.bulk import wake
from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.people import NAME, Role, name_problem, password_problem
from app.contract.spec import FieldError
from app.store import user as user_store
from app.store.audit_event import record_event
from app.store.database import reading, writing
from app.store.person_limit import ACTIVE
from app.store.run import new_id
from app.store.sign_in_session import end_sessions
from app.store.turn import WAITS
from app.store.user import UserRecord
from app.store.welcome_code import create_code, is_valid_code, use_code
from app.web.caller import Caller
from app.web.dependencies import Parts

LAST = "this is the last administrator; give somebody else that role first"
KEEP: Final = -1
LARGEST_LIMIT: Final = 1_000_000
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


@dataclass(frozen=True)
class Limits:
    """New limits of a person; KEEP: as before, None: those of the settings, 0: none."""

    most_running: int | None = KEEP
    most_queued: int | None = KEEP

    def __post_init__(self) -> None:
        for field, value in (("most_running", self.most_running), ("most_queued", self.most_queued)):
            if value is not None and value != KEEP and not 0 <= value <= LARGEST_LIMIT:
                raise invalid(field, f"a limit must be from 0, which is no limit, to {LARGEST_LIMIT:,}")


def change_person(
    parts: Parts,
    caller: Caller,
    name: str,
    *,
    role: Role | None = None,
    password: str | None = None,
    disabled: bool | None = None,
    limits: Limits | None = None,
) -> UserRecord:
    """Change a person's role or limits, set a new password, or disable or enable them; what is None stays.

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
        if limits is not None:
            _set_limits(connection, caller, person, limits)
        changed = find(connection, name)
    if changed.most_running != person.most_running:
        # Runs that waited for the limit may start now.
        wake(parts)
    return changed


def _set_limits(connection: Connection, caller: Caller, person: UserRecord, limits: Limits) -> None:
    before = {"most_running": person.most_running, "most_queued": person.most_queued}
    wanted = {"most_running": limits.most_running, "most_queued": limits.most_queued}
    after = {name: before[name] if value == KEEP else value for name, value in wanted.items()}
    if after == before:
        return
    user_store.set_limits(connection, person.id, after["most_running"], after["most_queued"])
    changed = {
        name: "default" if value is None else value or "none" for name, value in after.items() if value != before[name]
    }
    audit(connection, caller, "person.limit", person.name, **changed)


def remove_person(parts: Parts, caller: Caller, name: str) -> None:
    """Remove a person: sessions end, and neither password nor tokens work; what they did keeps their name.

    Until the trash is emptied, they can be restored. The last person can be removed where nobody had to sign in before
    the first was added. Raises NotFound and Conflict.
    """
    with writing(parts.engine) as connection:
        person = find(connection, name)
        if user_store.administrators(connection) == [person.id]:
            others = len(user_store.list_users(connection)) > 1
            if others or parts.credentials.always:
                raise Conflict(LAST)
        end_sessions(connection, person.id)
        user_store.remove_user(connection, person.id, time.time())
        audit(connection, caller, "person.remove", person.name)
    parts.credentials.people_changed()


def restore_person(parts: Parts, caller: Caller, name: str) -> UserRecord:
    """Restore a person who was removed, with their password, tokens and limits. Raises NotFound."""
    name = name.strip().lower()
    with writing(parts.engine) as connection:
        if not NAME.fullmatch(name) or not user_store.restore_user(connection, name):
            raise NotFound(f"nobody called '{name[:60]}' was removed in the last {parts.settings.trash_days:g} days")
        audit(connection, caller, "person.restore", name)
        restored = find(connection, name)
    parts.credentials.people_changed()
    return restored


@dataclass(frozen=True)
class Belongings:
    """What a person has: ``runs`` and ``sweeps`` they launched, ``sessions`` and ``tokens`` that sign them in.

    ``waiting`` and ``active``: those of the runs that are queued, and that train.
    """

    runs: int
    sweeps: int
    waiting: int
    active: int
    sessions: int
    tokens: int


def belongings(parts: Parts, name: str) -> tuple[UserRecord, Belongings]:
    """A person and what they have. Raises NotFound."""
    with reading(parts.engine) as connection:
        person = find(connection, name)
        row = connection.execute(_BELONGINGS, {"name": person.name, "id": person.id}).one()
    return person, Belongings(*map(int, row))


_BELONGINGS = text(
    "SELECT (SELECT count(*) FROM run WHERE created_by = :name AND deleted_at IS NULL),"
    " (SELECT count(*) FROM sweep WHERE created_by = :name),"
    f" (SELECT count(*) FROM run WHERE {WAITS} AND created_by = :name),"
    f" (SELECT count(*) FROM run WHERE {ACTIVE} AND created_by = :name),"
    ' (SELECT count(*) FROM sign_in_session WHERE "user" = :id),'
    ' (SELECT count(*) FROM api_token WHERE "user" = :id)'
)


@dataclass(frozen=True)
class Load:
    """How many runs of a person are active and queued."""

    active: int = 0
    queued: int = 0


def list_loads(parts: Parts) -> dict[str, Load]:
    """Everyone with active or queued runs, and how many."""
    with reading(parts.engine) as connection:
        rows = connection.execute(_LOADS).all()
    return {row.person: Load(int(row.active), int(row.queued)) for row in rows}


_LOADS = text(
    "SELECT person, sum(active) AS active, sum(queued) AS queued FROM ("
    f"SELECT created_by AS person, count(*) AS active, 0 AS queued FROM run WHERE {ACTIVE} GROUP BY created_by"
    f" UNION ALL SELECT created_by, 0, count(*) FROM run WHERE {WAITS} GROUP BY created_by) AS load GROUP BY person"
)


def list_removed(parts: Parts) -> list[tuple[str, float]]:
    """Names of people who can be restored, and when they were removed (seconds since 1970), newest first."""
    with reading(parts.engine) as connection:
        return user_store.removed_users(connection)


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
