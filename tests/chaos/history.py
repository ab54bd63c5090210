"""What was acknowledged while faults struck: one JSON line an event, written before the next request is sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Points = list[tuple[int, float]]
Curves = dict[str, Points]

Kind = Literal[
    "reference",
    "launched",
    "stopped",
    "continued",
    "unsure",
    "swept",
    "logged",
    "commanded",
    "noted",
    "fault",
    "calm",
    "unanswered",
]


@dataclass(frozen=True)
class Event:
    """One line. ``at``: seconds of a monotonic clock since the history began; ``data``: see History's methods."""

    kind: Kind
    at: float
    data: dict[str, Any]


class History:
    """The events so far; safe to use from several threads.

    With a ``path``, each event is on disk when its method returns, so that a history outlives the program.
    """

    def __init__(self, path: Path | None = None, events: Iterable[Event] = ()) -> None:
        self.events = list(events)
        self._file = open(path, "a") if path else None
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def _add(self, kind: Kind, **data: Any) -> None:
        with self._lock:
            event = Event(kind, round(time.monotonic() - self._began, 3), data)
            self.events.append(event)
            if self._file is not None:
                self._file.write(json.dumps({"kind": event.kind, "at": event.at, **event.data}) + "\n")
                self._file.flush()

    def of(self, kind: Kind) -> list[dict[str, Any]]:
        """The data of every event of a kind, oldest first."""
        with self._lock:
            return [event.data for event in self.events if event.kind == kind]

    def reference(self, name: str, curves: Curves) -> None:
        """The curves of a specification whose run nothing disturbed."""
        self._add("reference", name=name, curves=curves)

    def launched(self, run: str, reference: str) -> None:
        """The server answered that it queued a run, whose curves are to be those of a reference."""
        self._add("launched", run=run, reference=reference)

    def stopped(self, run: str) -> None:
        """The server answered that it will stop a run."""
        self._add("stopped", run=run)

    def continued(self, run: str, parent: str, reference: str) -> None:
        """The server answered that it queued a run that goes on where another one ended."""
        self._add("continued", run=run, parent=parent, reference=reference)

    def unsure(self, parent: str, reference: str) -> None:
        """A request to continue a run had no answer, and was not repeated: at most one run continues it."""
        self._add("unsure", parent=parent, reference=reference)

    def swept(self, sweep: str, references: list[str], prunes: bool = False) -> None:
        """The server answered that it queued a sweep, with a run for each reference, in order of their numbers.

        ``prunes``: it stops runs whose validation accuracy is below the median of all others at the same epoch.
        """
        self._add("swept", sweep=sweep, references=references, prunes=prunes)

    def logged(self, run: str, curves: Curves) -> None:
        """The client said that the server has every point of a run that a script logged, and its end."""
        self._add("logged", run=run, curves=curves)

    def commanded(self, run: str, curves: Curves) -> None:
        """The server answered that it queued a command, each attempt of which logs these curves under a prefix."""
        self._add("commanded", run=run, curves=curves)

    def noted(self, run: str, attempt: int, points: int) -> None:
        """An attempt of a command noted that so many points of each curve are on its disk."""
        self._add("noted", run=run, attempt=attempt, points=points)

    def unanswered(self, request: str) -> None:
        """A request that was repeated until faults were over, and still had no answer."""
        self._add("unanswered", request=request)

    def fault(self, fault: str, fired: bool, seen: str) -> None:
        """A fault was tried; ``seen``: what shows that it fired, or why it did not."""
        self._add("fault", fault=fault, fired=fired, seen=seen)

    def calm(self) -> None:
        """The last fault is over."""
        self._add("calm")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
