"""Sign in at an OpenID Connect provider: who may enter, who they are here, and with which role.

A person is who the provider's issuer and subject say, whatever they call themselves there: nobody becomes a person of
this Runyard by taking that person's name.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from app.actions.account import start_session
from app.actions.people import audit, find, invalid
from app.contract.errors import Conflict, Forbidden, NotFound, RunyardError, Unauthorized
from app.contract.people import NAME, Role, highest_role, read_role_rules
from app.services.openid_provider import OpenIDProvider, claim_values, denied
from app.store import user as user_store
from app.store.database import reading, writing
from app.store.run import new_id
from app.store.sign_in_attempt import AttemptRecord, insert_attempt, take_attempt
from app.store.sign_in_session import end_sessions
from app.store.user import UserRecord
from app.store.user_identity import (
    LONGEST_SUBJECT,
    IdentityRecord,
    delete_identity,
    find_identity,
    insert_identity,
    is_subject,
    list_subjects,
)
from app.web.caller import Caller
from app.web.dependencies import Parts

logger = logging.getLogger("runyard.server")

CREDENTIAL: Final = "OpenID Connect"
LONGEST_TARGET: Final = 2000
EXPIRED: Final = "this sign-in was used, has expired or was started in another browser; start again"
NONE: Final = "this Runyard has no OpenID Connect provider; set RUNYARD_OIDC_ISSUER"


def provider_of(parts: Parts) -> OpenIDProvider:
    """Return the provider. Raises NotFound without one."""
    if parts.provider is None:
        raise NotFound(NONE)
    return parts.provider


def start(parts: Parts, redirect: str, target: str, address: str) -> tuple[str, str]:
    """Start a sign-in; returns the address at the provider, and the secret for the cookie of this browser.

    ``redirect``: where the provider sends the browser; ``target``: the page to go on to. Raises NotFound and
    Unavailable.
    """
    state, nonce, browser = (secrets.token_urlsafe(32) for _ in range(3))
    verifier = secrets.token_urlsafe(48)
    leads_to = provider_of(parts).address(redirect, state, nonce, verifier)
    with writing(parts.engine) as connection:
        attempt = AttemptRecord(nonce, verifier, redirect, target if len(target) <= LONGEST_TARGET else "/")
        insert_attempt(connection, state, browser, attempt, address, time.time())
    return leads_to, browser


def finish(
    parts: Parts, query: Mapping[str, str], browser: str, address: str, agent: str, before: str = ""
) -> tuple[str, str]:
    """Sign in whoever the provider has sent back; returns the secret of the new session, and the page to go on to.

    ``query``: of the request; ``browser``: the secret in the cookie; ``before``: of the browser's session until now.
    Raises NotFound, Unauthorized, Forbidden, Conflict and Unavailable.
    """
    provider = provider_of(parts)
    with writing(parts.engine) as connection:
        attempt = take_attempt(connection, query.get("state", ""), browser, time.time())
    if attempt is None:
        # Some providers forget the state when they refuse somebody; nothing but the sentence depends on it.
        raise denied(query["error"]) if "error" in query and "state" not in query else Unauthorized(EXPIRED)
    if query.get("iss", provider.issuer) != provider.issuer:
        raise Unauthorized("the answer comes from another provider; start again")
    if "code" not in query:
        raise denied(query.get("error", ""))
    settings = parts.settings
    wanted = (settings.oidc_name_claim, *([settings.oidc_roles_claim] if settings.oidc_roles else []))
    claims = provider.claims(query["code"], attempt.redirect, attempt.verifier, attempt.nonce, wanted)
    with writing(parts.engine) as connection:
        found = _enter(connection, parts, provider.issuer, claims, address)
    parts.credentials.people_changed()
    if isinstance(found, RunyardError):
        logger.warning("sign-in of subject %s of %s refused: %s", claims["sub"], provider.issuer, found.message)
        raise found
    return start_session(parts, found, address, agent, "browser", before, CREDENTIAL), attempt.target


def _enter(
    connection: Connection, parts: Parts, issuer: str, claims: Mapping[str, Any], address: str
) -> UserRecord | RunyardError:
    """Find or add the person of these claims, or say why they may not enter.

    Returns the reason rather than raising it, because what a refusal changes must be committed.
    """
    subject: str = claims["sub"]
    settings = parts.settings
    groups = claim_values(claims, settings.oidc_roles_claim)
    role = highest_role(read_role_rules(settings.oidc_roles), groups)
    identity = find_identity(connection, issuer, subject)
    user = None if identity is None else user_store.load_user(connection, identity.user)
    if identity is not None and user is None:
        return Forbidden("an administrator removed you here, and can restore you")
    if identity is None or user is None:
        return _add(connection, issuer, subject, claims, settings.oidc_name_claim, role, address)
    if not user.enabled:
        return Forbidden(f"the account '{user.name}' is disabled here")
    if identity.linked_by == "administrator":
        return user
    caller = Caller(frozenset(), CREDENTIAL, user.name, user.id, user.role, address=address)
    if role is None:
        if end_sessions(connection, user.id):
            audit(connection, caller, "session.end", user.name, reason="no role at the provider")
        return _not_allowed(subject)
    if role == user.role or user_store.administrators(connection) == [user.id]:
        return user
    user_store.set_role(connection, user.id, role)
    audit(connection, caller, "person.role", user.name, before=user.role, role=role)
    return replace(user, role=role)


def _add(
    connection: Connection,
    issuer: str,
    subject: str,
    claims: Mapping[str, Any],
    name_claim: str,
    role: Role | None,
    address: str,
) -> UserRecord | RunyardError:
    """Add a person who enters for the first time, or say why they may not."""
    if role is None:
        return _not_allowed(subject)
    if role != "administrator" and not user_store.any_user(connection):
        return Forbidden("the first person here must be an administrator")
    given = claim_values(claims, name_claim)
    name = given[0].strip().lower() if given else ""
    if not NAME.fullmatch(name):
        verified = ", verified," if name_claim == "email" else ""
        return Forbidden(f"the provider gives no {name_claim}{verified} that could be a name here")
    if user_store.find_user(connection, name) is not None:
        return Conflict(
            f"somebody here is already called '{name}'; if that is you, an administrator can link you with"
            f" `runyard user link {name} {subject}`"
        )
    now = time.time()
    added = UserRecord(new_id(now, "p"), name, role, "", now, None)
    user_store.insert_user(connection, added)
    insert_identity(connection, IdentityRecord(issuer, subject, added.id, "provider", now))
    caller = Caller(frozenset(), CREDENTIAL, name, added.id, role, address=address)
    audit(connection, caller, "person.add", name, role=role, issuer=issuer, subject=subject)
    return added


def _not_allowed(subject: str) -> Forbidden:
    return Forbidden(f"you are not among those who may use this Runyard; ask an administrator (you are {subject})")


# Administration -------------------------------------------------------------------------------------------------------


def subjects(parts: Parts) -> dict[str, str]:
    """Who people are at the provider, by their IDs here."""
    if parts.provider is None:
        return {}
    with reading(parts.engine) as connection:
        return list_subjects(connection, parts.provider.issuer)


def link_person(parts: Parts, caller: Caller, name: str, subject: str | None) -> UserRecord:
    """Say who a person is at the provider; None unlinks them. Their role is then a matter of this Runyard alone.

    Raises NotFound, Invalid and Conflict.
    """
    issuer = provider_of(parts).issuer
    if subject is not None and not is_subject(subject):
        raise invalid("subject", f"subject must have 1 to {LONGEST_SUBJECT} printable characters")
    with writing(parts.engine) as connection:
        person = find(connection, name)
        known = None if subject is None else find_identity(connection, issuer, subject)
        if known is not None and user_store.load_user(connection, known.user) is None:
            # Of somebody who was removed, and who would come back without it.
            delete_identity(connection, known.user, issuer)
        elif known is not None and known.user != person.id:
            raise Conflict("somebody else is linked to this subject; unlink or remove them first")
        was_linked = delete_identity(connection, person.id, issuer)
        if subject is not None:
            insert_identity(connection, IdentityRecord(issuer, subject, person.id, "administrator", time.time()))
            audit(connection, caller, "person.link", person.name, issuer=issuer, subject=subject)
        elif was_linked:
            end_sessions(connection, person.id, but=caller.session if caller.user == person.id else None)
            audit(connection, caller, "person.unlink", person.name, issuer=issuer)
        return person
