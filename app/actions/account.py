"""What people do with their own account: sign in and out, change the password, keep tokens."""

from __future__ import annotations

import time
from typing import Final

from app.actions.people import audit, find, hash_new, invalid
from app.contract.errors import Conflict, Forbidden, NotFound, Unauthorized
from app.contract.people import ROLE_PERMISSIONS, SCOPE_PERMISSIONS, Scope
from app.store import api_token, sign_in_session
from app.store.api_token import TokenRecord
from app.store.database import reading, writing
from app.store.run import new_id
from app.store.sign_in_session import Kind, SessionRecord
from app.store.user import UserRecord, load_user, set_password_hash
from app.web.caller import Caller
from app.web.dependencies import Parts

LONGEST_NAME: Final = 60
MOST_DAYS: Final = 3650
NO_ACCOUNT: Final = "nobody has signed in here, so there is no account"


def sign_in(
    parts: Parts, name: str, password: str, address: str, agent: str, kind: Kind, before: str = ""
) -> tuple[UserRecord, str]:
    """Sign a person in, and return the secret of the new session; ``before``: of the browser's session until now.

    Raises Unauthorized and TooManyAttempts.
    """
    user = parts.credentials.check_password(name, password, address)
    return user, start_session(parts, user, address, agent, kind, before)


def start_session(
    parts: Parts,
    user: UserRecord,
    address: str,
    agent: str,
    kind: Kind,
    before: str = "",
    credential: str = "password",
) -> str:
    """Start a session of a person who has just proven by a credential who they are, and return its secret."""
    now = time.time()
    caller = Caller(frozenset(), credential, user.name, user.id, user.role, address=address)
    with writing(parts.engine) as connection:
        old = sign_in_session.find_session(connection, before, kind, now) if before else None
        if old is not None:
            sign_in_session.end_session(connection, old.user, old.id)
        secret = sign_in_session.start_session(connection, user.id, kind, address, agent, now)
        audit(connection, caller, "sign-in", user.name, kind=kind)
    return secret


def sign_out(parts: Parts, caller: Caller) -> None:
    """End the caller's session."""
    if caller.session is None:
        raise Conflict("this request has no session that could end: it has a token or a password of its own")
    with writing(parts.engine) as connection:
        sign_in_session.end_session(connection, caller.user, caller.session)
        audit(connection, caller, "sign-out", caller.name)


def own(parts: Parts, caller: Caller) -> UserRecord:
    """Load the caller's account. Raises Forbidden without one."""
    if not caller.user:
        raise Forbidden(NO_ACCOUNT)
    with reading(parts.engine) as connection:
        user = load_user(connection, caller.user)
    if user is None:
        raise Forbidden(NO_ACCOUNT)
    return user


def change_password(parts: Parts, caller: Caller, current: str, new: str) -> None:
    """Change the caller's own password, and end all other sessions. Raises Forbidden, Invalid and TooManyAttempts."""
    user = own(parts, caller)
    try:
        parts.credentials.check_password(user.name, current, caller.address)
    except Unauthorized as error:
        raise invalid("current", "the current password is wrong") from error
    password_hash = hash_new(parts, new, user.name, "new")
    with writing(parts.engine) as connection:
        set_password_hash(connection, user.id, password_hash)
        sign_in_session.end_sessions(connection, user.id, but=caller.session)
        audit(connection, caller, "person.password", user.name)


def list_own_sessions(parts: Parts, caller: Caller) -> list[SessionRecord]:
    """The caller's sessions, last used first."""
    with reading(parts.engine) as connection:
        return sign_in_session.list_sessions(connection, caller.user, time.time())


def end_own_sessions(parts: Parts, caller: Caller, session: int | None = None, others: bool = False) -> int:
    """End one session of the caller, all others, or all; returns how many. Raises NotFound."""
    with writing(parts.engine) as connection:
        if session is not None:
            if not sign_in_session.end_session(connection, caller.user, session):
                raise NotFound(f"no session {session}")
            ended = 1
        else:
            ended = sign_in_session.end_sessions(connection, caller.user, but=caller.session if others else None)
        audit(connection, caller, "session.end", caller.name, ended=ended)
    return ended


# Tokens ---------------------------------------------------------------------------------------------------------------


def create_token(
    parts: Parts, caller: Caller, name: str, scope: Scope, days: int | None, of: str | None = None
) -> tuple[TokenRecord, str]:
    """Create a token of the caller, or of the person ``of``; returns it once. Raises Invalid, Forbidden and Conflict.

    ``days``: how long it is valid; None: until it is deleted.
    """
    name, now = name.strip(), time.time()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise invalid("name", f"name must have 1 to {LONGEST_NAME} characters")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise invalid("days", f"days must be from 1 to {MOST_DAYS:,}")
    with writing(parts.engine) as connection:
        user = load_user(connection, caller.user) if of is None else find(connection, of)
        if user is None:
            raise Forbidden(NO_ACCOUNT)
        if not SCOPE_PERMISSIONS[scope] <= ROLE_PERMISSIONS[user.role]:
            raise invalid("scope", f"a token of a {user.role} cannot have the scope '{scope}'")
        existing = api_token.list_tokens(connection, user.id)
        if len(existing) >= api_token.MOST_TOKENS:
            raise Conflict(f"limit of {api_token.MOST_TOKENS} tokens reached; delete one first")
        token_id = new_id(now, "t")
        expires_at = None if days is None else now + 86_400.0 * days
        token = api_token.insert_token(connection, token_id, user.id, name, scope, expires_at, now)
        audit(connection, caller, "token.add", user.name, name=name, scope=scope, id=token_id)
        record = next(each for each in api_token.list_tokens(connection, user.id) if each.id == token_id)
    return record, token


def list_own_tokens(parts: Parts, caller: Caller) -> list[TokenRecord]:
    """The caller's tokens, newest first."""
    with reading(parts.engine) as connection:
        return api_token.list_tokens(connection, caller.user)


def list_all_tokens(parts: Parts) -> list[tuple[TokenRecord, str]]:
    """All tokens with the names of their people, newest first."""
    with reading(parts.engine) as connection:
        found = [(each, load_user(connection, each.user)) for each in api_token.list_tokens(connection)]
    return [(each, user.name) for each, user in found if user is not None]


def delete_token(parts: Parts, caller: Caller, token: str, anyones: bool = False) -> None:
    """Delete a token of the caller, or of anyone. Raises NotFound."""
    with writing(parts.engine) as connection:
        gone = api_token.delete_token(connection, token, None if anyones else caller.user)
        if gone is None:
            raise NotFound(f"no token '{token[:40]}'")
        user = load_user(connection, gone.user)
        audit(connection, caller, "token.delete", "" if user is None else user.name, name=gone.name, id=gone.id)
