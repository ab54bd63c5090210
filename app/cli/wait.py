"""Waiting for runs to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from app.cli.api import Api, ApiError

UNENDED = ("queued", "starting", "running", "finishing", "cancelling", "lost")
# A server that trains tells of changes ten times a second; once a second is enough to look what they were.
PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
FEW = 4

Run = dict[str, Any]


def wait_for(
    api: Api,
    ids: Sequence[str],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Run]:
    """Each run, as the API tells it, as soon as it has ended; one that was deleted as {"id", "status": "deleted"}.

    A server that is started again meanwhile is waited for. Raises ApiError when it stays away for two minutes.
    """
    pending = list(dict.fromkeys(ids))
    heard = clock()
    while pending:
        try:
            with api.changes() as changes:
                for run in _ended(api, pending):
                    pending.remove(run["id"])
                    yield run
                heard = clock()
                if pending:
                    next(changes, None)
        except ApiError as error:
            if (error.status and error.status != 503) or clock() - heard > PATIENCE_SECONDS:
                raise
        if pending:
            pause(PAUSE_SECONDS)


def _ended(api: Api, pending: Sequence[str]) -> list[Run]:
    """Those that have ended, in the order of ``pending``."""
    alive = _alive(api) if len(pending) > FEW else set()
    runs = [_run(api, run_id) for run_id in pending if run_id not in alive]
    return [run for run in runs if run["status"] not in UNENDED]


def _run(api: Api, run_id: str) -> Run:
    try:
        run: Run = api.get(f"/runs/{run_id}")
        return run
    except ApiError as error:
        if error.status != 404:
            raise
        return {"id": run_id, "status": "deleted"}


def _alive(api: Api) -> set[str]:
    """The runs that have not ended. One that moves between two pages may be missing: whoever asks looks at it again."""
    found: set[str] = set()
    after: str | None = None
    while True:
        page = api.get("/runs", status=UNENDED, limit=500, after=after)
        found |= {run["id"] for run in page["runs"]}
        after = page["next"]
        if after is None:
            return found
