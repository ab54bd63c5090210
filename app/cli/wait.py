"""Wait for runs to end, across restarts of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runyard import Runyard

ACTIVE = ("queued", "starting", "running", "finishing", "cancelling", "lost")
# A busy server announces changes ten times a second; once a second is enough to fetch them.
PAUSE_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
# Up to this many runs are fetched one by one.
FEW = 4

Run = dict[str, Any]


def wait_for(
    yard: Runyard,
    ids: Sequence[str],
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Run]:
    """Yield the data of each run as soon as it has ended; a deleted run as {"id", "status": "deleted"}.

    Waits for a server that restarts. Raises RunyardError if it does not come back within two minutes.
    """
    from runyard import RunyardError

    pending = list(dict.fromkeys(ids))
    last_contact = clock()
    while pending:
        try:
            # The first item says that the server is subscribed; a run that ends after this check yields another item.
            changes = yard.changes()
            next(changes, None)
            for run in _ended_runs(yard, pending):
                pending.remove(run["id"])
                yield run
            last_contact = clock()
            if pending:
                next(changes, None)
        except RunyardError as error:
            if (error.status and error.status != 503) or clock() - last_contact > PATIENCE_SECONDS:
                raise
        if pending:
            pause(PAUSE_SECONDS)


def _ended_runs(yard: Runyard, pending: Sequence[str]) -> list[Run]:
    """Return the runs that have ended, in the order of ``pending``."""
    # A run can move between two pages and be missed, so every run that is not listed is fetched.
    active = {run.id for run in yard.runs(status=ACTIVE)} if len(pending) > FEW else set()
    runs = [run_data(yard, run_id) for run_id in pending if run_id not in active]
    return [run for run in runs if run["status"] not in ACTIVE]


def run_data(yard: Runyard, run_id: str) -> Run:
    """Return the data of a run, or {"id", "status": "deleted"} if it does not exist."""
    from runyard import RunyardError

    try:
        return yard.run(run_id).data
    except RunyardError as error:
        if error.status != 404:
            raise
        return {"id": run_id, "status": "deleted"}
