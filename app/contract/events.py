"""Messages between worker and recorder, and their encoding as entries of one Redis stream.

An entry has the fields ``k`` (kind), ``b`` (body) and, from a trainer, ``r`` (run), ``f`` (fence) and ``s`` (sequence
number, starting at 1 without gaps). Bodies are JSON, except for metric points, which are packed arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contract.disk_space import DiskSpace
from app.contract.program import Startable
from app.contract.shared_files import SharedFolder
from app.contract.spec import RunConfig
from app.contract.steps import NARROW, WIDE

Outcome = Literal["succeeded", "failed", "cancelled", "interrupted", "killed"]
# Limits of the database: an entry beyond them must not stop the recorder.
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Time = Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# Reports of a trainer, in order --------------------------------------------------------------------------------------


class Started(_Event):
    """The first step is about to start; points of an earlier attempt after ``step`` are void, unless it ``keeps`` them.

    ``environment`` is loaded with every run of a list; ``capture`` has all details and is loaded for a single run.
    ``batch_size``: the one found, if the run searches for the largest batch that fits.
    ``time``: timestamp by the same clock as the points.
    """

    step: Whole
    epoch: Whole
    params: Whole | None
    environment: dict[str, Any]
    capture: dict[str, Any] = {}
    batch_size: Whole | None = None
    time: Time | None = None
    keeps: bool = False


class Progress(_Event):
    """Progress of a run. ``step`` counts optimizer steps from 0; ``eta_seconds`` includes validation.

    ``epoch``: the one in training, or the one just validated; 0 before the first. ``phase``: current activity other
    than training; ``share``: completed fraction of that phase, 0 to 1.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    samples_per_second: float | None = None
    eta_seconds: float | None = None
    phase: str = "training"
    share: float | None = None


class LogLine(_Event):
    """A line of a run's log; ``time`` in seconds since 1970, UTC."""

    time: Time
    level: Literal["debug", "info", "warning", "error"]
    text: str


class Log(_Event):
    lines: list[LogLine]


class Checkpoint(_Event):
    """A checkpoint was written under ``path`` of the artifact store.

    ``epoch``: completed epochs; ``within``: completed steps of the next one. ``kept``: saved permanently, for forks.
    ``bytes``: of the file; 0 in what earlier versions wrote.
    """

    path: str
    epoch: Whole
    step: Whole
    best: bool = False
    within: Whole = 0
    kept: bool = False
    bytes: Whole = 0


class PredictionsKept(_Event):
    """A file of predictions was written under ``path`` of the artifact store.

    ``kind``: "final", which replaces all others of the run, or "history", of the epochs up to ``epoch``.
    """

    path: str
    kind: Literal["final", "history"]
    epoch: Whole
    step: Whole
    bytes: Whole


class Changed(_Event):
    """A requested change was applied at ``step``, or refused for ``reason``.

    ``epochs``: the run's total number of epochs from then on.
    """

    id: Whole
    outcome: Literal["applied", "refused"]
    step: Whole
    epochs: Whole
    reason: str = ""


class Finishing(_Event):
    """Training has ended; the best checkpoint is being tested."""


class Result(_Event):
    """The final report of a trainer. ``exit_status``: of a command, negative for the signal that killed it."""

    outcome: Outcome
    reason: str = ""
    exit_status: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None


# Reports of a supervisor ---------------------------------------------------------------------------------------------


class DeviceInfo(_Event):
    """A worker's device; ``index``: number of the GPU on its machine."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: Whole
    cores: Whole
    index: Whole = 0

    @property
    def accepted_devices(self) -> tuple[str, ...]:
        """Values of a run's ``device`` field that this device matches."""
        return accepted_devices(self.kind, self.index)


def accepted_devices(kind: str, index: int) -> tuple[str, ...]:
    """Return the values of a run's ``device`` field that such a device matches."""
    return ("auto", kind, f"{kind}:{index}") if kind == "cuda" else ("auto", kind)


class Claim(_Event):
    """A free slot requests a run; the reply goes to the Redis list ``reply``.

    ``protocol``: that of the worker, which earlier versions do not say. ``command_key``: the ID of the key with which
    it checks commands, "" without one; a worker of an earlier version may be sent any command, and checks it itself.
    """

    claim: str
    worker: str
    slot: Whole
    device: DeviceInfo
    reply: str
    protocol: Whole = 1
    command_key: str | None = None


class OwnedRun(_Event):
    """A run that a worker owns, under the fence of its attempt."""

    run: str
    fence: Whole


class Heartbeat(_Event):
    """A worker is alive and still owns these runs; renews their leases.

    ``asleep_seconds``: total time that its machine has been suspended since it booted. ``waiting``: those of its runs
    that stand still until there is room on its ``disk``. ``time``: by its clock, when it was sent. ``protocol``,
    ``command_key``: as in a Claim.
    """

    worker: str
    beat: int
    host: str
    pid: Whole
    slots: Whole
    device: DeviceInfo
    versions: dict[str, str]
    runs: list[OwnedRun]
    asleep_seconds: float = Field(0.0, ge=0, allow_inf_nan=False)
    disk: DiskSpace | None = None
    waiting: list[str] = []
    time: Time | None = None
    protocol: Whole = 1
    command_key: str | None = None


class Ended(_Event):
    """A trainer process has exited without a Result, or its supervisor stopped it."""

    run: str
    fence: Whole
    outcome: Outcome
    reason: str


class Goodbye(_Event):
    """A worker has shut down cleanly and owns no runs."""

    worker: str


TRAINER_EVENTS: dict[str, type[_Event]] = {
    "started": Started,
    "progress": Progress,
    "log": Log,
    "checkpoint": Checkpoint,
    "predictions": PredictionsKept,
    "change": Changed,
    "finishing": Finishing,
    "result": Result,
}
SUPERVISOR_EVENTS: dict[str, type[_Event]] = {
    "claim": Claim,
    "heartbeat": Heartbeat,
    "ended": Ended,
    "goodbye": Goodbye,
}


# Replies of the recorder ---------------------------------------------------------------------------------------------


ChangeKind = Literal["stop_after_epoch", "epochs", "lr_factor", "checkpoint", "note"]


class Change(_Event):
    """A change of a run while it trains, to apply at ``step``; without a step, before the next one.

    ``applied``: an earlier attempt already applied it at ``step``. An attempt that starts at an earlier step, from an
    older checkpoint, applies it there again. ``epochs`` is then the run's total number of epochs from that step on.
    """

    id: Whole
    kind: ChangeKind
    value: int | float | str | None = None
    step: Whole | None = None
    epochs: Whole | None = None
    applied: bool = False


class PendingChanges(_Event):
    """Changes of a run that are not applied yet."""

    run: str
    changes: list[Change]


class Grant(_Event):
    """Reply to a Claim: a run, or none (``run`` empty), with what to train or the command to execute.

    ``changes``: applied and pending changes of a run in training. ``architectures``: the user's own, as they are on the
    server now, if workers get them from the artifact store.
    """

    run: str = ""
    fence: int = 0
    attempt: int = 0
    config: RunConfig | None = None
    command: Startable | None = None
    resume: Checkpoint | None = None
    changes: list[Change] = []
    architectures: SharedFolder | None = None


class Renewal(_Event):
    """Reply to a Heartbeat: which of the worker's runs to cancel, and which it no longer owns (``drop``).

    ``asked``: pending changes of its runs, repeated until they are applied. ``protocol``, ``version``: of the server.
    """

    beat: int
    protocol: int = 1
    version: str = ""
    cancel: list[OwnedRun] = []
    drop: list[OwnedRun] = []
    asked: list[PendingChanges] = []


# Metric points -------------------------------------------------------------------------------------------------------

_HEAD = struct.Struct("<dH")
_SERIES = struct.Struct("<HI")
# Set in the number of points of a metric whose steps do not fit into 32 bits. Entries of earlier versions have none.
_WIDE_STEPS = 2**31


@dataclass(frozen=True)
class Points:
    """Points of a metric: little-endian arrays of steps (`pack_steps`), values (float64) and time offsets (float32)."""

    name: str
    count: int
    steps: bytes
    values: bytes
    offsets: bytes


def pack_points(base_time: float, series: Iterable[Points]) -> bytes:
    """Encode the body of a ``metrics`` entry; offsets are seconds after ``base_time`` (seconds since 1970)."""
    parts: list[bytes] = []
    count = 0
    for points in series:
        name = points.name.encode()
        wide = _WIDE_STEPS if len(points.steps) > NARROW * points.count else 0
        parts += (_SERIES.pack(len(name), points.count | wide), name, points.steps, points.values, points.offsets)
        count += 1
    return b"".join((_HEAD.pack(base_time, count), *parts))


def unpack_points(body: bytes) -> tuple[float, list[Points]]:
    """Decode the body of a ``metrics`` entry. Raises ValueError if ``body`` is truncated or not such a body."""
    try:
        base_time, count = _HEAD.unpack_from(body)
        position = _HEAD.size
        series = []
        for _ in range(count):
            name_bytes, n = _SERIES.unpack_from(body, position)
            position += _SERIES.size
            width, n = (WIDE, n ^ _WIDE_STEPS) if n > _WIDE_STEPS else (NARROW, n)
            name_end = position + name_bytes
            steps_end = name_end + width * n
            ends = [name_end, steps_end, steps_end + 8 * n, steps_end + 12 * n]
            if ends[-1] > len(body):
                raise ValueError("metric points are truncated")
            name = body[position:name_end].decode()
            series.append(Points(name, n, body[ends[0] : ends[1]], body[ends[1] : ends[2]], body[ends[2] : ends[3]]))
            position = ends[-1]
    except struct.error as error:
        raise ValueError(f"not a metrics entry: {error}") from error
    if position != len(body):
        raise ValueError("unexpected data after the metric points")
    return base_time, series


def entry(run: str, fence: int, sequence: int, kind: str, body: bytes) -> dict[str, bytes | str | int]:
    """Return the fields of a stream entry from a trainer."""
    return {"r": run, "f": fence, "s": sequence, "k": kind, "b": body}
