"""/api/v1/worker-tokens and /api/v1/join: how other machines become workers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.actions import worker_tokens
from app.contract.joining import JoinAnswer, JoinRequest
from app.contract.timestamps import iso
from app.store.worker_token import WorkerTokenRecord
from app.web.access import client_address
from app.web.dependencies import CallerDep, PartsDep

api = APIRouter(tags=["workers"])


class WorkerTokenIn(BaseModel):
    """A new token. ``url``: address of this server for other machines (default: that of the request)."""

    model_config = ConfigDict(extra="forbid")

    hours: Annotated[int, Field(ge=1, le=worker_tokens.MOST_HOURS)] = Field(
        1, description="How long machines can join with it, in hours."
    )
    uses: Annotated[int, Field(ge=1, le=worker_tokens.MOST_USES)] | None = Field(
        1, description="How many machines can join with it; null: any number."
    )
    url: str = Field("", max_length=1000)


class WorkerTokenOut(BaseModel):
    """A token without its secret. ``host``: the machine that joined with it last."""

    id: str
    created: str
    created_by: str
    expires: str
    uses_left: int | None
    host: str
    used: str | None


class WorkerTokensOut(BaseModel):
    """Tokens, newest first."""

    tokens: list[WorkerTokenOut]


class NewWorkerToken(BaseModel):
    """A new token; ``secret`` is shown only here. ``command``: what to run on the other machine."""

    secret: str
    command: str
    token: WorkerTokenOut


def _as_json(token: WorkerTokenRecord) -> WorkerTokenOut:
    return WorkerTokenOut(
        id=token.id,
        created=iso(token.created_at) or "",
        created_by=token.created_by,
        expires=iso(token.expires_at) or "",
        uses_left=token.uses_left,
        host=token.last_host,
        used=iso(token.used_at),
    )


@api.post("/worker-tokens", status_code=201)
def post_worker_token(body: WorkerTokenIn, request: Request, parts: PartsDep, caller: CallerDep) -> NewWorkerToken:
    """Create a token with which other machines join as workers. It is never shown again."""
    record, token = worker_tokens.create_token(
        parts, caller, str(request.base_url), body.hours, body.uses, body.url.strip()
    )
    return NewWorkerToken(secret=token, command=f"runyard join {token}", token=_as_json(record))


@api.get("/worker-tokens")
def get_worker_tokens(parts: PartsDep) -> WorkerTokensOut:
    """List the tokens with which machines can join or have joined."""
    return WorkerTokensOut(tokens=[_as_json(each) for each in worker_tokens.list_tokens(parts)])


@api.delete("/worker-tokens/{token_id}", status_code=204)
def delete_worker_token(token_id: str, parts: PartsDep, caller: CallerDep) -> None:
    """Delete a token. Machines that joined with it go on working."""
    worker_tokens.delete_token(parts, caller, token_id)


@api.post("/join")
def post_join(body: JoinRequest, request: Request, parts: PartsDep) -> JoinAnswer:
    """Give a machine with a token what it needs to work: addresses and passwords of Redis and the artifact store."""
    return worker_tokens.join(parts, body, client_address(request, parts.credentials))
