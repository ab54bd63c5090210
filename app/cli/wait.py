"""Waiting for runs to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runyard import Runyard

UNENDED = ("queued", "starting", "running", "finishing", "cancelling", "lost")
# A server that trains tells of changes ten times a second; once a second is enough to look what they were.
PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
FEW = 4

Run = dict[str, Any]


def wait_for(
    yard: Runyard,
    ids: Sequence[str],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Run]:
    """Each run, as the API tells it, as soon as it has ended; one that was deleted as {"id", "status": "deleted"}.

    A server that is started again meanwhile is waited for. Raises RunyardError when it stays away for two minutes.
    """
    from runyard import RunyardError

    pending = list(dict.fromkeys(ids))
    heard = clock()
    while pending:
        try:
            # The first item comes when the server listens: what ends after this look is told by the next one.
            changes = yard.changes()
            next(changes, None)
            for run in _ended(yard, pending):
                pending.remove(run["id"])
                yield run
            heard = clock()
            if pending:
                next(changes, None)
        except RunyardError as error:
            if (error.status and error.status != 503) or clock() - heard > PATIENCE_SECONDS:
                raise
        if pending:
            pause(PAUSE_SECONDS)


def _ended(yard: Runyard, pending: Sequence[str]) -> list[Run]:
    """Those that have ended, in the order of ``pending``."""
    # One that moves between two pages of the living may be missing there, so those that are missing are looked at.
    alive = {run.id for run in yard.runs(status=UNENDED)} if len(pending) > FEW else set()
    runs = [run_data(yard, run_id) for run_id in pending if run_id not in alive]
    return [run for run in runs if run["status"] not in UNENDED]


def run_data(yard: Runyard, run_id: str) -> Run:
    """A run as the API tells it; one that is not there as {"id", "status": "deleted"}."""
    from runyard import RunyardError

    try:
        return yard.run(run_id).data
    except RunyardError as error:
        if error.status != 404:
            raise
        return {"id": run_id, "status": "deleted"}
