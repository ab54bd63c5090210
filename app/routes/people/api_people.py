"""/api/v1/users, /api/v1/tokens and /api/v1/welcome: what administrators do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.actions import account, people, provider_sign_in
from app.contract.errors import Conflict
from app.contract.people import Role
from app.contract.timestamps import iso
from app.routes.people.api_account import NewToken, TokenIn, TokensOut, token_as_json
from app.store.user import UserRecord
from app.web.dependencies import CallerDep, PartsDep

api = APIRouter(tags=["people"])


Limit = Annotated[int, Field(ge=0, le=people.LARGEST_LIMIT)]


class UserIn(BaseModel):
    """A new person; ``role``: default member. Without a password, tokens, a provider or a proxy sign in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    role: Role | None = None
    password: str | None = Field(None, max_length=1000)


class UserChange(BaseModel):
    """What to change; what is left out stays.

    ``most_running`` and ``most_queued``: limits on runs; 0: none, null: those of the settings.
    """

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    password: str | None = Field(None, max_length=1000)
    disabled: bool | None = None
    subject: str | None = Field(
        None, max_length=255, description="Who the person is at the OpenID Connect provider; blank unlinks them."
    )
    most_running: Limit | None = None
    most_queued: Limit | None = None


class UserOut(BaseModel):
    """A person; ``subject``: at the OpenID Connect provider, if it signs them in.

    ``most_running`` and ``most_queued``: their own limits; null: those of the settings, 0: none. ``active`` and
    ``queued``: how many of their runs are.
    """

    name: str
    role: Role
    created: str
    disabled: str | None
    has_password: bool
    subject: str | None
    most_running: int | None = None
    most_queued: int | None = None
    active: int = 0
    queued: int = 0


class RemovedOut(BaseModel):
    """Somebody who was removed, and when."""

    name: str
    removed: str


class UsersOut(BaseModel):
    """People, by name; ``removed``: those who can be restored. ``most_running``, ``most_queued``: default limits."""

    users: list[UserOut]
    removed: list[RemovedOut] = []
    most_running: int = 0
    most_queued: int = 0


class WelcomeOut(BaseModel):
    """``path``: the one-time address with which the first administrator is created."""

    path: str


def _as_json(user: UserRecord, subjects: Mapping[str, str], load: people.Load | None = None) -> UserOut:
    load = load or people.Load()
    return UserOut(
        name=user.name,
        role=user.role,
        created=iso(user.created_at) or "",
        disabled=iso(user.disabled_at),
        has_password=bool(user.password_hash),
        subject=subjects.get(user.id),
        most_running=user.most_running,
        most_queued=user.most_queued,
        active=load.active,
        queued=load.queued,
    )


@api.get("/users")
def get_users(parts: PartsDep) -> UsersOut:
    """List all people."""
    loads, subjects = people.list_loads(parts), provider_sign_in.subjects(parts)
    return UsersOut(
        users=[_as_json(each, subjects, loads.get(each.name)) for each in people.list_people(parts)],
        removed=[RemovedOut(name=name, removed=iso(at) or "") for name, at in people.list_removed(parts)],
        most_running=parts.settings.most_running,
        most_queued=parts.settings.most_queued,
    )


@api.post("/users", status_code=201)
def post_user(body: UserIn, parts: PartsDep, caller: CallerDep) -> UserOut:
    """Add a person. From the first one on, everyone has to sign in."""
    return _as_json(people.add_person(parts, caller, body.name, body.role, body.password), {})


@api.patch("/users/{name}")
def patch_user(name: str, body: UserChange, parts: PartsDep, caller: CallerDep) -> UserOut:
    """Change a person's role or limits, set a password, disable or enable them, or say who they are at the provider."""
    if body.subject is not None:
        provider_sign_in.link_person(parts, caller, name, body.subject or None)
    limits = people.Limits(
        **{field: getattr(body, field) for field in ("most_running", "most_queued") if field in body.model_fields_set}
    )
    changed = people.change_person(
        parts, caller, name, role=body.role, password=body.password, disabled=body.disabled, limits=limits
    )
    return _as_json(changed, provider_sign_in.subjects(parts), people.list_loads(parts).get(changed.name))


@api.delete("/users/{name}", status_code=204)
def delete_user(name: str, parts: PartsDep, caller: CallerDep) -> None:
    """Remove a person: nothing signs in as them any more. Runs and the audit log keep the name."""
    people.remove_person(parts, caller, name)


@api.post("/users/{name}/restore")
def post_restore_user(name: str, parts: PartsDep, caller: CallerDep) -> UserOut:
    """Restore a person who was removed, with their password, tokens and limits."""
    return _as_json(people.restore_person(parts, caller, name), provider_sign_in.subjects(parts))


@api.post("/users/{name}/tokens", status_code=201)
def post_user_token(name: str, body: TokenIn, parts: PartsDep, caller: CallerDep) -> NewToken:
    """Create a token for a person. Its secret is never shown again."""
    record, secret = account.create_token(parts, caller, body.name, body.scope, body.days, of=name)
    return NewToken(secret=secret, token=token_as_json(record, name.strip().lower()))


@api.get("/tokens")
def get_all_tokens(parts: PartsDep) -> TokensOut:
    """List the tokens of all people."""
    return TokensOut(tokens=[token_as_json(each, user) for each, user in account.list_all_tokens(parts)])


@api.delete("/tokens/{token_id}", status_code=204)
def delete_any_token(token_id: str, parts: PartsDep, caller: CallerDep) -> None:
    """Delete anyone's token."""
    account.delete_token(parts, caller, token_id, anyones=True)


@api.post("/welcome", status_code=201)
def post_welcome(parts: PartsDep) -> WelcomeOut:
    """Create the one-time address for the first administrator; earlier ones stop working."""
    code = people.create_welcome_code(parts)
    if code is None:
        raise Conflict("there is an administrator already")
    return WelcomeOut(path=f"/welcome?code={code}")
