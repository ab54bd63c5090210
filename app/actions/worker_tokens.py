"""Let other machines join as workers: create, list and delete their tokens, and use one up."""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import urlsplit

from _runyard import __version__
from app.actions.people import audit, invalid
from app.contract.errors import Conflict, Forbidden, NotFound, Unavailable
from app.contract.joining import JoinAnswer, JoinRequest, make_token
from app.contract.protocol import Speaker, skew
from app.contract.settings import is_loopback
from app.services import joining
from app.store import worker_token
from app.store.audit_event import record_event
from app.store.database import reading, writing
from app.store.run import new_id
from app.store.worker_token import WorkerTokenRecord
from app.web.caller import Caller
from app.web.dependencies import Parts

MOST_HOURS: Final = 24 * 365
MOST_USES: Final = 10_000
LONGEST_HOST: Final = 60


def create_token(
    parts: Parts, caller: Caller, requested: str, hours: int = 1, uses: int | None = 1, url: str = ""
) -> tuple[WorkerTokenRecord, str]:
    """Create a token and return it once. Raises Invalid, and Conflict where other machines could not work.

    ``requested``: URL of the request. ``hours``: how long machines can join with it. ``uses``: how many; None: any
    number. ``url``: under which they reach this server (default: as it was requested).
    """
    if not 1 <= hours <= MOST_HOURS:
        raise invalid("hours", f"hours must be from 1 to {MOST_HOURS:,}")
    if uses is not None and not 1 <= uses <= MOST_USES:
        raise invalid("uses", f"uses must be from 1 to {MOST_USES:,}")
    parsed = urlsplit(url)
    if url and (parsed.scheme not in ("http", "https") or not parsed.hostname):
        raise invalid("url", "url must be an address such as https://yard.example.org")
    if problem := joining.why_not_joinable(parts.settings):
        raise Conflict(problem)
    now = time.time()
    address = url.rstrip("/") or joining.server_url(parts.settings, requested)
    # Whoever has a tunnel gives such an address.
    if not url and is_loopback(urlsplit(address).hostname or ""):
        how = "give its address for them (--server-url of the command, url in the API)"
        raise invalid("url", f"other machines do not reach this server at {address}; {how}")
    with writing(parts.engine) as connection:
        if len(worker_token.list_tokens(connection)) >= worker_token.MOST_TOKENS:
            raise Conflict(f"limit of {worker_token.MOST_TOKENS} tokens for workers reached; delete one first")
        token_id = new_id(now, "w")
        secret = worker_token.insert_token(connection, token_id, caller.who, now, now + 3600.0 * hours, uses)
        audit(connection, caller, "worker-token.add", token_id, hours=hours, uses=uses)
        record = next(each for each in worker_token.list_tokens(connection) if each.id == token_id)
    return record, make_token(address, secret)


def list_tokens(parts: Parts) -> list[WorkerTokenRecord]:
    """All tokens, newest first."""
    with reading(parts.engine) as connection:
        return worker_token.list_tokens(connection)


def delete_token(parts: Parts, caller: Caller, token_id: str) -> None:
    """Delete a token; machines that joined with it stay. Raises NotFound."""
    with writing(parts.engine) as connection:
        if not worker_token.delete_token(connection, token_id):
            raise NotFound(f"no token '{token_id[:40]}' for workers")
        audit(connection, caller, "worker-token.delete", token_id)


def join(parts: Parts, request: JoinRequest, address: str) -> JoinAnswer:
    """Tell a machine what it needs, and use its token. ``address``: from which it asks.

    Raises Forbidden, Conflict and Unavailable, and then uses nothing.
    """
    refused = skew(Speaker(__version__), Speaker(request.version, request.protocol))
    host, now = request.host.strip()[:LONGEST_HOST] or "unknown", time.time()
    with writing(parts.engine) as connection:
        found = worker_token.find_token(connection, request.secret)
        if found is None:
            raise Forbidden("this token is unknown here: it was deleted, or is of another server")
        if not found.is_valid(now):
            why = "has expired" if found.expires_at <= now else f"was used up by {found.last_host}"
            raise Forbidden(f"this token {why}; ask an administrator for another")
        if refused:
            raise Conflict(refused)
        if problem := joining.why_not_joinable(parts.settings):
            raise Conflict(problem)
        try:
            answer = joining.answer(parts.settings)
        except OSError as error:
            raise Unavailable(f"the server cannot read a certificate: {error.strerror}") from error
        if worker_token.use_token(connection, request.secret, host, now) is None:
            raise Forbidden("this token was used up meanwhile; ask an administrator for another")
        record_event(
            connection,
            at=now,
            who=host,
            credential=f"worker token {found.id}",
            address=address,
            action="worker.join",
            target=host,
            detail={"by": found.created_by},
        )
    return answer
