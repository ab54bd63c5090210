"""Who sends requests: everyone who can, with every kind of credential, renewed when a request has taken it away."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from app.actions.account import create_token
from app.actions.people import add_person, change_person
from app.contract.command_key import ensure_key, read_key
from app.contract.local_key import authorization
from app.contract.people import MACHINE_PERMISSIONS, ROLE_PERMISSIONS, SCOPE_PERMISSIONS, SCOPES, Permission
from app.store.database import reading, writing
from app.store.user import UserRecord, find_user
from app.web.caller import LOCAL_KEY
from app.web.dependencies import Parts
from tests.fuzz.exchange import PORT
from tests.people import NAMES, PASSWORD, bearer, session

Headers = tuple[tuple[str, str], ...]
NOBODY: Final = "nobody"


@dataclass(frozen=True)
class Sender:
    """A caller: ``sign`` gives the headers that prove it, for a method and a target."""

    name: str
    permissions: frozenset[Permission]
    sign: Callable[[str, str], Headers]

    @property
    def trusted(self) -> bool:
        """Whether this is an administrator, who may see what others must not."""
        return "admin" in self.permissions


def senders(parts: Parts) -> list[Sender]:
    """Nobody, each role in a browser, at a command line and by password, each scope of token, and this machine."""
    found = [Sender(NOBODY, frozenset(), lambda method, target: ())]
    for role, name in NAMES.items():
        permissions = ROLE_PERMISSIONS[role]
        cookie = "; ".join(f"{key}={value}" for key, value in session(parts, name).items())
        password = base64.b64encode(f"{name}:{PASSWORD}".encode()).decode()
        found += [
            Sender(f"{role}'s browser", permissions, _fixed("cookie", cookie)),
            Sender(
                f"{role}'s command line", permissions, _fixed("authorization", bearer(parts, name)["authorization"])
            ),
            Sender(f"{role}'s password", permissions, _fixed("authorization", f"Basic {password}")),
        ]
    for scope in SCOPES:
        secret = create_token(parts, LOCAL_KEY, f"fuzz {scope}", scope, 1, of=NAMES["administrator"])[1]
        found.append(Sender(f"{scope} token", SCOPE_PERMISSIONS[scope], _fixed("authorization", f"Bearer {secret}")))
    key = read_key(ensure_key(parts.settings.data_dir))
    host = f"127.0.0.1:{PORT}"
    machine = Sender(
        "key of the machine",
        MACHINE_PERMISSIONS,
        lambda method, target: (("authorization", authorization(key, method, host, target)),),
    )
    return [*found, machine]


def _fixed(name: str, value: str) -> Callable[[str, str], Headers]:
    return lambda method, target: ((name, value),)


def everyone_is_there(parts: Parts) -> bool:
    """Whether each person still exists with their role, sessions and tokens."""
    with reading(parts.engine) as connection:
        users = {role: find_user(connection, name) for role, name in NAMES.items()}
        count = connection.execute(text("SELECT count(*) FROM sign_in_session")).scalar() or 0
        tokens = connection.execute(text("SELECT count(*) FROM api_token WHERE name LIKE 'fuzz %'")).scalar()
    there = all(user is not None and user.enabled and user.role == role for role, user in users.items())
    return there and count >= 6 and tokens == len(SCOPES)


def renew(parts: Parts) -> list[Sender]:
    """Add whoever is missing, with their role and password, and sign everyone in again."""
    for role, name in NAMES.items():
        with reading(parts.engine) as connection:
            user: UserRecord | None = find_user(connection, name)
        if user is None:
            add_person(parts, LOCAL_KEY, name, role, PASSWORD)
    # Promoted first: the last administrator cannot be changed.
    for role, name in NAMES.items():
        change_person(parts, LOCAL_KEY, name, role=role, password=PASSWORD, disabled=False)
    with writing(parts.engine) as connection:
        for table in ("api_token", "sign_in_session", "sign_in_failure"):
            connection.execute(text(f"DELETE FROM {table}"))
    return senders(parts)
