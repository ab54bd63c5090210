"""Which runs stand still because the disk of their worker is full, as heartbeats tell."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from app.contract.events import Heartbeat
from app.store.run_phase import set_phase


class WaitingRuns:
    """Remembers them, so that only changes are written."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def note(self, connection: Connection, beat: Heartbeat, commit: int) -> Iterator[str]:
        """Set the phase of those runs of a worker that have begun to wait or have gone on; yields them."""
        for holding in beat.runs:
            waits = holding.run in beat.waiting
            if waits == (holding.run in self._waiting):
                continue
            if waits:
                self._waiting.add(holding.run)
            else:
                self._waiting.discard(holding.run)
            phase = f"waiting for disk space on {beat.host}" if waits else "training"
            set_phase(connection, holding.run, phase, commit)
            yield holding.run
