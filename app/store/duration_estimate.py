"""Estimated start and duration of queued runs, based on finished and active runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from pydantic_core import from_json
from sqlalchemy import Connection, Engine, text

from app.store.database import rows
from app.store.epoch_time import EpochTimes
from app.store.person_limit import RunningLimit, limits_of
from app.store.queue import QueuePage
from app.store.run import ACTIVE, RunRecord
from app.store.turn import PLAIN, QUEUE_ORDER, QueueRules, Turns, read_slice
from app.store.worker import WorkerRecord

NO_WORKER = "no connected worker can run it"
UNKNOWN_COMMAND = "nothing says how long a command takes"


@dataclass(frozen=True)
class Estimate:
    """``start`` in seconds since 1970, UTC, and ``seconds`` of training; None if unknown.

    ``start_why``: why the start is unknown; ``estimate``: what the duration is based on, or why there is none;
    ``held``: the limit of its person that it waits for.
    """

    start: float | None
    start_why: str
    seconds: float | None
    estimate: str
    held: str = ""


@dataclass(frozen=True)
class _Run:
    """What start and duration of a run depend on; ``epochs`` are those left to train. A command has no ``size``."""

    number: int
    family: str
    size: str
    dataset: str
    batch_size: int
    epochs: float
    device: str
    worker: str
    person: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    precision: str = "auto"

    @property
    def network(self) -> tuple[Any, ...]:
        options = tuple(sorted(self.options.items()))
        return (self.family, self.size, self.dataset, self.batch_size, options, self.precision)


class _Lengths:
    """Run durations; caches each network's epoch time until another run ends."""

    def __init__(self, epoch_times: EpochTimes) -> None:
        self._epoch_times = epoch_times
        self._found: dict[tuple[Any, ...], tuple[float | None, str]] = {}

    def of(self, run: _Run, device: str) -> tuple[float | None, str]:
        """Training seconds on a device or None, and what they are based on or why they are unknown."""
        key = (device, *run.network)
        if key not in self._found:
            self._found[key] = self._epoch(run, device)
        epoch, basis = self._found[key]
        return (None if epoch is None else epoch * run.epochs), basis

    def _epoch(self, run: _Run, device: str) -> tuple[float | None, str]:
        if not run.size:
            return None, UNKNOWN_COMMAND
        prediction = self._epoch_times.predict_on(run, device)
        if prediction.epoch_seconds is None:
            return None, f"no successful run of {run.family} {run.size} on {device} yet"
        runs = f"{prediction.runs} successful run{'s' if prediction.runs != 1 else ''}"
        return prediction.epoch_seconds, f"based on {runs} of {prediction.basis}"

    @property
    def usual_device(self) -> str | None:
        """The device with the most successful runs."""
        return next(iter(self._epoch_times.devices), None)


_cache: WeakKeyDictionary[Engine, tuple[Any, _Lengths]] = WeakKeyDictionary()


def _lengths(connection: Connection) -> _Lengths:
    newest = connection.execute(_NEWEST_END).one_or_none()
    key = None if newest is None else tuple(newest)
    cached = _cache.get(connection.engine)
    if cached is None or cached[0] != key:
        cached = (key, _Lengths(EpochTimes(connection)))
        _cache[connection.engine] = cached
    return cached[1]


_NEWEST_END = text(
    "SELECT ended_at, number FROM run WHERE ended_at IS NOT NULL AND deleted_at IS NULL AND status || '' = 'succeeded'"
    " ORDER BY ended_at DESC, number DESC LIMIT 1"
)


@dataclass
class _Slot:
    """When a slot becomes free; None if that is unknown, because run ``unknown_run`` has no estimate."""

    worker: WorkerRecord
    free_at: float | None
    unknown_run: int = 0


def estimate_page(
    connection: Connection, page: QueuePage, workers: list[WorkerRecord], now: float, rules: QueueRules = PLAIN
) -> list[Estimate]:
    """Estimate each run of a page by simulating the queue, in order, on the existing slots.

    Runs beyond their person's limit start when one of the person's runs has ended, which is not estimated.
    """
    if not page.runs:
        return []
    lengths = _lengths(connection)
    limits = limits_of(connection, rules.most_running)
    simulation = _Simulation(_slots(connection, workers, lengths, now), lengths, now, limits)
    if not page.stopped and workers:
        for run in _ahead(connection, page.first - 1, page.turns):
            simulation.place(run)
    return [simulation.estimate(_of_record(run), page.stopped) for run in page.runs]


class _Simulation:
    """Simulated slots that fill up with queued runs."""

    def __init__(self, slots: list[_Slot], lengths: _Lengths, now: float, limits: Mapping[str, RunningLimit]) -> None:
        self._slots = slots
        self._lengths = lengths
        self._now = now
        self._limits = limits
        self._own: Counter[str] = Counter()
        self._fitting: dict[tuple[str, str], list[_Slot]] = {}

    def estimate(self, run: _Run, stopped: str) -> Estimate:
        """Estimate a run and place it on a slot; ``stopped``: why no run starts."""
        slots = self._for(run)
        device = slots[0].worker.device_name if slots else self._lengths.usual_device
        seconds, basis = (None, "no run has succeeded yet") if device is None else self._lengths.of(run, device)
        if stopped:
            return Estimate(None, stopped, seconds, basis)
        if not slots:
            return Estimate(None, NO_WORKER, seconds, basis)
        if held := self._held(run):
            self.place(run)
            return Estimate(None, held, seconds, basis, held)
        start, unknown_run, taken = self.place(run)
        if taken is not None:
            seconds, basis = self._lengths.of(run, taken.worker.device_name)
        why = "" if start is not None else f"unknown, because run #{unknown_run} has no estimate"
        return Estimate(start, why, seconds, basis)

    def place(self, run: _Run) -> tuple[float | None, int, _Slot | None]:
        """Place a run on the slot that becomes free first; returns its start, or the run whose duration is unknown."""
        held = self._held(run)
        self._own[run.person] += 1
        slots = self._for(run)
        if held or not slots:
            return None, 0, None
        unknown = next((slot for slot in slots if slot.free_at is None), None)
        known = [slot for slot in slots if slot.free_at is not None]
        first = min(known, key=lambda slot: slot.free_at or 0.0, default=None)
        if first is None or first.free_at is None or (unknown is not None and first.free_at > self._now):
            unknown_run = unknown.unknown_run if unknown is not None else 0
            # It takes one of these slots, but which one is unknown.
            for slot in known:
                slot.free_at, slot.unknown_run = None, unknown_run
            return None, unknown_run, None
        start = first.free_at
        seconds, _ = self._lengths.of(run, first.worker.device_name)
        first.free_at, first.unknown_run = (None, run.number) if seconds is None else (start + seconds, 0)
        return start, 0, first

    def _held(self, run: _Run) -> str:
        limit = self._limits.get(run.person)
        return "" if limit is None else limit.why_not(run.person, self._own[run.person])

    def _for(self, run: _Run) -> list[_Slot]:
        asks = (run.device, run.worker)
        if asks not in self._fitting:
            self._fitting[asks] = [slot for slot in self._slots if slot.worker.takes(*asks)]
        return self._fitting[asks]


def _slots(connection: Connection, workers: list[WorkerRecord], lengths: _Lengths, now: float) -> list[_Slot]:
    active = {row["id"]: row for row in rows(connection.execute(_HELD))} if any(w.runs for w in workers) else {}
    slots = []
    for worker in workers:
        rests = [_rest(active[run], lengths, now) for run in worker.runs if run in active]
        slots += [_Slot(worker, None if rest is None else now + rest, number) for number, rest in rests]
        slots += [_Slot(worker, now) for _ in range(worker.slots - len(rests))]
    return slots


_HELD = text(
    "SELECT id, number, status, started_at, progress, family, size, dataset, batch_size, epochs, device FROM run"
    f" WHERE status IN {ACTIVE}"
)


def _rest(row: dict[str, Any], lengths: _Lengths, now: float) -> tuple[int, float | None]:
    """The number of an active run, and how much longer it needs its slot."""
    if row["status"] in ("finishing", "cancelling"):
        return row["number"], 0.0
    eta = from_json(row["progress"]).get("eta_seconds") if row["status"] == "running" else None
    if eta is not None:
        return row["number"], max(0.0, float(eta))
    seconds, _ = lengths.of(_of_row(row), row["device"])
    trained = now - row["started_at"] if row["started_at"] is not None and row["status"] == "running" else 0.0
    return row["number"], None if seconds is None else max(0.0, seconds - trained)


def _ahead(connection: Connection, count: int, turns: Turns | None) -> Iterable[_Run]:
    """The first runs of the queue; read from columns only, without parsing each configuration."""
    if count <= 0:
        return []
    if turns is not None:
        return [_of_row(row) for row in read_slice(connection, turns, 0, count, _COLUMNS)]
    return [_of_row(row) for row in rows(connection.execute(_AHEAD, {"count": count}))]


_COLUMNS = "number, family, size, dataset, batch_size, epochs, device_wanted, worker_wanted, created_by, priority, rank"
_AHEAD = text(
    f"SELECT {_COLUMNS} FROM run WHERE status = 'queued' AND deleted_at IS NULL ORDER BY {QUEUE_ORDER} LIMIT :count"
)


def _of_row(row: dict[str, Any]) -> _Run:
    return _Run(
        row["number"],
        row["family"],
        row["size"],
        row["dataset"],
        row["batch_size"],
        row["epochs"],
        row.get("device_wanted", ""),
        row.get("worker_wanted", ""),
        row.get("created_by", ""),
    )


def _of_record(run: RunRecord) -> _Run:
    config = run.config
    done = from_json(run.checkpoint).get("epoch", 0) if run.checkpoint else 0
    return _Run(
        run.number,
        config.family,
        config.size,
        config.dataset_name,
        run.row["batch_size"],
        max(0, run.row["epochs"] - done),
        run.device_wanted,
        run.worker_wanted,
        run.created_by,
        config.options,
        config.precision,
    )
