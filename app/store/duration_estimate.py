"""When a queued run will start and how long it will take, as far as finished and running runs say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from pydantic_core import from_json
from sqlalchemy import Connection, Engine, text

from app.store.database import rows
from app.store.epoch_time import EpochTimes
from app.store.lease import QUEUE_ORDER
from app.store.queue import PAUSED, QueuePage
from app.store.run import ACTIVE, RunRecord
from app.store.worker import WorkerRecord

NOBODY = "no connected worker can take it"


@dataclass(frozen=True)
class Expected:
    """``start`` in seconds since 1970, UTC, and ``seconds`` of training; None where it cannot be known.

    ``start_why`` says why the start is not known; ``estimate`` what the length comes from, or why there is none.
    """

    start: float | None
    start_why: str
    seconds: float | None
    estimate: str


@dataclass(frozen=True)
class _Asked:
    """A run as far as its start and its length depend on it; ``share`` is how much of it is left to train."""

    number: int
    family: str
    size: str
    dataset: str
    batch_size: int
    epochs: float
    device: str
    worker: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    precision: str = "auto"

    @property
    def network(self) -> tuple[Any, ...]:
        options = tuple(sorted(self.options.items()))
        return (self.family, self.size, self.dataset, self.batch_size, options, self.precision)


class _Lengths:
    """Lengths of runs, each network's pace looked for once until another run has ended."""

    def __init__(self, paces: EpochTimes) -> None:
        self._paces = paces
        self._found: dict[tuple[Any, ...], tuple[float | None, str]] = {}

    def of(self, run: _Asked, device: str) -> tuple[float | None, str]:
        """Seconds of training on a device, or None, and where they come from or why there are none."""
        key = (device, *run.network)
        if key not in self._found:
            self._found[key] = self._epoch(run, device)
        epoch, words = self._found[key]
        return (None if epoch is None else epoch * run.epochs), words

    def _epoch(self, run: _Asked, device: str) -> tuple[float | None, str]:
        found = self._paces.predict_on(run, device)
        if found.epoch_seconds is None:
            return None, f"no finished run of {run.family} {run.size} on {device} yet"
        runs = f"{found.runs} finished run{'s' if found.runs != 1 else ''}"
        return found.epoch_seconds, f"from {runs}: {found.basis}"

    @property
    def usual_device(self) -> str | None:
        """Where most runs have finished."""
        return next(iter(self._paces.devices), None)


_kept: WeakKeyDictionary[Engine, tuple[Any, _Lengths]] = WeakKeyDictionary()


def _lengths(connection: Connection) -> _Lengths:
    newest = connection.execute(_NEWEST_END).one_or_none()
    key = None if newest is None else tuple(newest)
    kept = _kept.get(connection.engine)
    if kept is None or kept[0] != key:
        kept = (key, _Lengths(EpochTimes(connection)))
        _kept[connection.engine] = kept
    return kept[1]


_NEWEST_END = text(
    "SELECT ended_at, number FROM run WHERE ended_at IS NOT NULL AND deleted_at IS NULL AND status || '' = 'succeeded'"
    " ORDER BY ended_at DESC, number DESC LIMIT 1"
)


@dataclass
class _Slot:
    """When a slot will be free; None where that is not known, because of the run ``blamed``."""

    worker: WorkerRecord
    free_at: float | None
    blamed: int = 0


def expect(connection: Connection, page: QueuePage, workers: list[WorkerRecord], now: float) -> list[Expected]:
    """What to expect of each run of a page: the queue is played through in its order, on the slots that there are."""
    if not page.runs:
        return []
    lengths = _lengths(connection)
    yard = _Yard(_slots(connection, workers, lengths, now), lengths, now)
    if page.paused_at is None and workers:
        for run in _ahead(connection, page.first - 1):
            yard.place(run)
    return [yard.expect(_asked(run), page.paused_at is not None) for run in page.runs]


class _Yard:
    """The slots, as they fill up with what waits."""

    def __init__(self, slots: list[_Slot], lengths: _Lengths, now: float) -> None:
        self._slots = slots
        self._lengths = lengths
        self._now = now
        self._fitting: dict[tuple[str, str], list[_Slot]] = {}

    def expect(self, run: _Asked, paused: bool) -> Expected:
        """What to expect of a run, which takes its slot."""
        slots = self._for(run)
        device = slots[0].worker.device_name if slots else self._lengths.usual_device
        seconds, words = (None, "no run has finished yet") if device is None else self._lengths.of(run, device)
        if paused:
            return Expected(None, PAUSED, seconds, words)
        if not slots:
            return Expected(None, NOBODY, seconds, words)
        start, blamed, taken = self.place(run)
        if taken is not None:
            seconds, words = self._lengths.of(run, taken.worker.device_name)
        why = "" if start is not None else f"it is not known how long run #{blamed} takes"
        return Expected(start, why, seconds, words)

    def place(self, run: _Asked) -> tuple[float | None, int, _Slot | None]:
        """Let a run take the first slot that will be free: when that is, or whose length is not known."""
        slots = self._for(run)
        if not slots:
            return None, 0, None
        unknown = next((slot for slot in slots if slot.free_at is None), None)
        known = [slot for slot in slots if slot.free_at is not None]
        first = min(known, key=lambda slot: slot.free_at or 0.0, default=None)
        if first is None or first.free_at is None or (unknown is not None and first.free_at > self._now):
            blamed = unknown.blamed if unknown is not None else 0
            # It takes one of them, and nobody knows which.
            for slot in known:
                slot.free_at, slot.blamed = None, blamed
            return None, blamed, None
        start = first.free_at
        seconds, _ = self._lengths.of(run, first.worker.device_name)
        first.free_at, first.blamed = (None, run.number) if seconds is None else (start + seconds, 0)
        return start, 0, first

    def _for(self, run: _Asked) -> list[_Slot]:
        asks = (run.device, run.worker)
        if asks not in self._fitting:
            self._fitting[asks] = [slot for slot in self._slots if slot.worker.takes(*asks)]
        return self._fitting[asks]


def _slots(connection: Connection, workers: list[WorkerRecord], lengths: _Lengths, now: float) -> list[_Slot]:
    held = {row["id"]: row for row in rows(connection.execute(_HELD))} if any(w.runs for w in workers) else {}
    found = []
    for worker in workers:
        rests = [_rest(held[run], lengths, now) for run in worker.runs if run in held]
        found += [_Slot(worker, None if rest is None else now + rest, number) for number, rest in rests]
        found += [_Slot(worker, now) for _ in range(worker.slots - len(rests))]
    return found


_HELD = text(
    "SELECT id, number, status, started_at, progress, family, size, dataset, batch_size, epochs, device FROM run"
    f" WHERE status IN {ACTIVE}"
)


def _rest(row: dict[str, Any], lengths: _Lengths, now: float) -> tuple[int, float | None]:
    """The number of a run that a worker holds, and how long it will hold it."""
    if row["status"] in ("finishing", "cancelling"):
        return row["number"], 0.0
    eta = from_json(row["progress"]).get("eta_seconds") if row["status"] == "running" else None
    if eta is not None:
        return row["number"], max(0.0, float(eta))
    seconds, _ = lengths.of(_columns(row), row["device"])
    trained = now - row["started_at"] if row["started_at"] is not None and row["status"] == "running" else 0.0
    return row["number"], None if seconds is None else max(0.0, seconds - trained)


def _ahead(connection: Connection, many: int) -> Iterable[_Asked]:
    """The first so many of the queue; what a longer look into each would tell of its pace is left out."""
    return [_columns(row) for row in rows(connection.execute(_AHEAD, {"many": many}))] if many > 0 else []


_AHEAD = text(
    "SELECT number, family, size, dataset, batch_size, epochs, device_wanted, worker_wanted FROM run"
    f" WHERE status = 'queued' AND deleted_at IS NULL ORDER BY {QUEUE_ORDER} LIMIT :many"
)


def _columns(row: dict[str, Any]) -> _Asked:
    return _Asked(
        row["number"],
        row["family"],
        row["size"],
        row["dataset"],
        row["batch_size"],
        row["epochs"],
        row.get("device_wanted", ""),
        row.get("worker_wanted", ""),
    )


def _asked(run: RunRecord) -> _Asked:
    config = run.config
    done = from_json(run.checkpoint).get("epoch", 0) if run.checkpoint else 0
    return _Asked(
        run.number,
        config.family,
        config.size,
        config.dataset,
        config.batch_size,
        max(0, config.epochs - done),
        run.device_wanted,
        run.worker_wanted,
        config.options,
        config.precision,
    )
