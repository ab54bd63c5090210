"""Send stream entries to a recorder as trainers do, and check what it has recorded."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from app.contract import broker
from app.contract.events import Points, Started, entry, pack_points
from app.contract.recipes import recipe_settings
from app.contract.spec import RunConfig
from app.store.database import reading
from app.store.metric import read_curves
from bench.backend import Backend

NAMES = ("train/loss", "train/acc", "train/lr", "val/loss", "val/acc")
BEGAN = 1_700_000_000.0
FLUSH_SECONDS = 0.05

Array = npt.NDArray[Any]


def any_config() -> RunConfig:
    """Any valid run configuration; it is never trained."""
    named = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "targets": ["digit"], "recipe": "default"}
    return RunConfig.model_validate(recipe_settings("default", "simple_mlp", "digits") | named)


@dataclass
class RunEntries:
    """The entries of one run: one per flush, each with ``points`` points of ``metrics`` metrics."""

    run: str
    fence: int
    points: int
    metrics: int
    entries: int
    values: Array = field(init=False)
    bodies: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.metrics, self.entries * self.points)
        # Trainers read values back from float32 tensors.
        self.values = np.random.default_rng(7).random(shape, np.float32).astype("<f8")
        self.bodies = [self._body(number) for number in range(self.entries)]

    @property
    def last(self) -> int:
        """Number of the last entry; the first reports the start of the run."""
        return self.entries + 1

    @property
    def scalars(self) -> int:
        """Number of points of all metrics."""
        return self.values.size

    def fields(self, number: int) -> Any:
        """Fields of stream entry ``number``, 0 to ``entries``."""
        if number == 0:
            started = Started(step=0, epoch=0, params=1, environment={})
            return entry(self.run, self.fence, 1, "started", started.model_dump_json().encode())
        return entry(self.run, self.fence, number + 1, "metrics", self.bodies[number - 1])

    def _body(self, number: int) -> bytes:
        first = number * self.points
        steps = np.arange(first + 1, first + self.points + 1, dtype="<u4").tobytes()
        series = [
            Points(NAMES[i], self.points, steps, self.values[i, first : first + self.points].tobytes(), self._offsets())
            for i in range(self.metrics)
        ]
        return pack_points(BEGAN + number * FLUSH_SECONDS, series)

    def _offsets(self) -> bytes:
        return np.linspace(0, FLUSH_SECONDS, self.points, endpoint=False).astype("<f4").tobytes()

    def times(self) -> Array:
        """Expected time of every point."""
        offsets = np.frombuffer(self._offsets(), "<f4").astype("<f8")
        return np.concatenate([BEGAN + number * FLUSH_SECONDS + offsets for number in range(self.entries)])


def feed(backend: Backend, runs: Sequence[RunEntries]) -> None:
    """Add all entries to the stream, alternating between runs."""
    for number in range(max(each.entries for each in runs) + 1):
        pipe = backend.redis.pipeline(transaction=False)
        for each in runs:
            if number <= each.entries:
                pipe.xadd(broker.EVENTS, each.fields(number))
        pipe.execute()


def feed_at_pace(backend: Backend, runs: Sequence[RunEntries]) -> None:
    """Send an entry of each run every ``FLUSH_SECONDS``, staggered."""
    started_at = time.monotonic()
    for number in range(max(each.entries for each in runs) + 1):
        for place, each in enumerate(runs):
            due = started_at + (number + place / len(runs)) * FLUSH_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))
            backend.redis.xadd(broker.EVENTS, each.fields(number))


def wait_until_committed(backend: Backend, runs: Sequence[RunEntries], seconds: float = 60.0) -> None:
    """Wait until the last entry of every run is in the database. Raises RuntimeError on timeout."""
    fields = [broker.committed_field(each.run, each.fence) for each in runs]
    expected = [str(each.last).encode() for each in runs]
    deadline = time.monotonic() + seconds
    while backend.redis.hmget(broker.COMMITTED, fields) != expected:
        if time.monotonic() > deadline:
            raise RuntimeError("the recorder has not committed everything")
        time.sleep(0.002)


def check(backend: Backend, runs: Sequence[RunEntries]) -> None:
    """Raise RuntimeError unless the database has every sent point once and in order."""
    with reading(backend.engine) as connection:
        for each in runs:
            curves = read_curves(connection, each.run, points=0)
            steps = np.arange(1, each.entries * each.points + 1)
            if sorted(curves) != sorted(NAMES[: each.metrics]):
                raise RuntimeError(f"{each.run} has the curves {sorted(curves)}")
            for name, values in zip(NAMES, each.values, strict=False):
                curve = curves[name]
                pairs = ((curve.steps, steps), (curve.values, values), (curve.times, each.times()))
                if not all(np.array_equal(one, other) for one, other in pairs):
                    raise RuntimeError(f"{name} of {each.run} differs from the sent values")


@contextmanager
def paused_recorder(backend: Backend) -> Iterator[None]:
    """Suspend the recorder inside the block."""
    backend.recorder.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        backend.recorder.send_signal(signal.SIGCONT)


def recorder_cpu(backend: Backend) -> float:
    """CPU seconds that the recorder has used."""
    times = psutil.Process(backend.recorder.pid).cpu_times()
    return float(times.user + times.system)
