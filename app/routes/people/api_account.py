"""/api/v1/sign-in, /api/v1/whoami and /api/v1/account: one's own session, password and tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.actions import account
from app.actions.account import sign_in
from app.contract.people import Permission, Role, Scope
from app.contract.timestamps import iso
from app.store.api_token import TokenRecord
from app.web.access import client_address
from app.web.credentials import SESSION_PREFIX
from app.web.dependencies import CallerDep, PartsDep
from app.web.numbers import Count

api = APIRouter(tags=["people"])


class SignIn(BaseModel):
    """A name and a password; ``client``: how the session is listed."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)
    client: str = Field("", max_length=200)


class SignedIn(BaseModel):
    """``token``: to be sent as a bearer token until the session ends."""

    token: str
    name: str
    role: Role


class WhoAmI(BaseModel):
    """Who sends the request. ``name`` and ``role`` are null without an account."""

    name: str | None
    role: Role | None
    credential: str
    permissions: list[Permission]


class Password(BaseModel):
    """The current password and the new one."""

    model_config = ConfigDict(extra="forbid")

    current: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


class SessionOut(BaseModel):
    """A session; ``current``: of this request. ``kind``: browser or command."""

    id: int
    kind: str
    client: str
    address: str
    created: str
    seen: str
    current: bool


class SessionsOut(BaseModel):
    """Sessions, last used first."""

    sessions: list[SessionOut]


class Ended(BaseModel):
    """How many sessions have ended."""

    ended: int


class TokenIn(BaseModel):
    """A new token; ``days``: how long it is valid, null: until it is deleted."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    scope: Scope = "launch"
    days: Annotated[int, Field(ge=1, le=3650)] | None = Field(90, description="Days until it expires; null: never.")


class TokenOut(BaseModel):
    """A token without its secret; ``hint``: its first characters."""

    id: str
    user: str
    name: str
    scope: Scope
    hint: str
    created: str
    expires: str | None
    used: str | None


class TokensOut(BaseModel):
    """Tokens, newest first."""

    tokens: list[TokenOut]


class NewToken(BaseModel):
    """A new token; ``secret`` is shown only here."""

    secret: str
    token: TokenOut


def token_as_json(token: TokenRecord, user: str) -> TokenOut:
    """Return a token as JSON."""
    return TokenOut(
        id=token.id,
        user=user,
        name=token.name,
        scope=token.scope,
        hint=token.hint,
        created=iso(token.created_at) or "",
        expires=iso(token.expires_at),
        used=iso(token.used_at),
    )


@api.post("/sign-in")
def post_sign_in(body: SignIn, request: Request, parts: PartsDep) -> SignedIn:
    """Sign in as a program, and get a bearer token of a session."""
    address = client_address(request, parts.credentials)
    user, secret = sign_in(parts, body.name, body.password, address, body.client, "command")
    return SignedIn(token=SESSION_PREFIX + secret, name=user.name, role=user.role)


@api.post("/sign-out", status_code=204)
def post_sign_out(parts: PartsDep, caller: CallerDep) -> None:
    """End the session of this request."""
    account.sign_out(parts, caller)


@api.get("/whoami")
def whoami(caller: CallerDep) -> WhoAmI:
    """Read who sends the request and what they may do."""
    permissions = sorted(caller.permissions)
    return WhoAmI(name=caller.name or None, role=caller.role, credential=caller.credential, permissions=permissions)


@api.put("/account/password", status_code=204)
def put_password(body: Password, parts: PartsDep, caller: CallerDep) -> None:
    """Change one's own password; all other sessions end."""
    account.change_password(parts, caller, body.current, body.new)


@api.get("/account/sessions")
def get_sessions(parts: PartsDep, caller: CallerDep) -> SessionsOut:
    """List one's own sessions."""
    account.own(parts, caller)
    return SessionsOut(
        sessions=[
            SessionOut(
                id=each.id,
                kind=each.kind,
                client=each.agent,
                address=each.address,
                created=iso(each.created_at) or "",
                seen=iso(each.seen_at) or "",
                current=each.id == caller.session,
            )
            for each in account.list_own_sessions(parts, caller)
        ]
    )


@api.delete("/account/sessions")
def delete_sessions(parts: PartsDep, caller: CallerDep) -> Ended:
    """End all of one's own sessions, this one included."""
    account.own(parts, caller)
    return Ended(ended=account.end_own_sessions(parts, caller))


@api.delete("/account/sessions/{session_id}", status_code=204)
def delete_session(session_id: Count, parts: PartsDep, caller: CallerDep) -> None:
    """End one of one's own sessions."""
    account.own(parts, caller)
    account.end_own_sessions(parts, caller, session_id)


@api.get("/account/tokens")
def get_tokens(parts: PartsDep, caller: CallerDep) -> TokensOut:
    """List one's own tokens."""
    account.own(parts, caller)
    return TokensOut(tokens=[token_as_json(each, caller.name) for each in account.list_own_tokens(parts, caller)])


@api.post("/account/tokens", status_code=201)
def post_token(body: TokenIn, parts: PartsDep, caller: CallerDep) -> NewToken:
    """Create a token for oneself. Its secret is never shown again."""
    record, secret = account.create_token(parts, caller, body.name, body.scope, body.days)
    return NewToken(secret=secret, token=token_as_json(record, caller.name))


@api.delete("/account/tokens/{token_id}", status_code=204)
def delete_token(token_id: str, parts: PartsDep, caller: CallerDep) -> None:
    """Delete one of one's own tokens."""
    account.own(parts, caller)
    account.delete_token(parts, caller, token_id)
