"""Every message between worker and recorder, and how it travels as an entry of one Redis stream.

An entry has the fields ``k`` (kind), ``b`` (body) and, for what a trainer reports, ``r`` (run), ``f`` (fence) and
``s`` (sequence number, from 1 without a gap). Bodies are JSON, but for metric points, which are packed arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contract.spec import RunConfig

Outcome = Literal["succeeded", "failed", "cancelled", "interrupted", "killed"]
# What a database can hold: one entry that says more must not stop the recorder.
Whole = Annotated[int, Field(ge=0, lt=2**63)]
Time = Annotated[float, Field(ge=0, lt=253_402_300_800, allow_inf_nan=False)]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


# What a trainer reports, in order ------------------------------------------------------------------------------------


class Started(_Event):
    """The first step is about to be made; points after ``step`` of an earlier attempt are void.

    ``environment`` stands beside every run of a list, ``capture`` is all that is known and is read for one run alone.
    ``batch_size``: the one that was found, where the run was to begin with the largest that fits.
    ``time``: when, by the clock that stamps the points.
    """

    step: Whole
    epoch: Whole
    params: Whole
    environment: dict[str, Any]
    capture: dict[str, Any] = {}
    batch_size: Whole | None = None
    time: Time | None = None


class Progress(_Event):
    """How far a run is. ``step`` counts optimizer steps from 0; ``eta_seconds`` includes validation.

    ``epoch`` is the one in training, and the one just validated at its end; 0 before the first. ``phase`` says what is
    being done where that is not training, and ``share`` how much of it is done, 0 to 1.
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
    """One line of a run's log; ``time`` is in seconds since 1970, UTC."""

    time: Time
    level: Literal["debug", "info", "warning", "error"]
    text: str


class Log(_Event):
    lines: list[LogLine]


class Checkpoint(_Event):
    """A checkpoint was written under ``path`` of the artifact store.

    ``epoch``: how many are done, and ``within`` the steps of the next one. ``kept``: it stays to be forked from.
    """

    path: str
    epoch: Whole
    step: Whole
    best: bool = False
    within: Whole = 0
    kept: bool = False


class Changed(_Event):
    """What a user asked of the run was done at ``step``, or cannot be: ``reason`` says why.

    ``epochs``: how many the run has in all from then on.
    """

    id: Whole
    outcome: Literal["applied", "refused"]
    step: Whole
    epochs: Whole
    reason: str = ""


class Finishing(_Event):
    """Training is over; the best checkpoint is being tested."""


class Result(_Event):
    """The last word of a trainer."""

    outcome: Outcome
    reason: str = ""


# What a supervisor reports -------------------------------------------------------------------------------------------


class DeviceFacts(_Event):
    """A worker's device: ``kind`` cpu or cuda, ``index`` which GPU of its machine, memory in bytes."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: Whole
    cores: Whole
    index: Whole = 0

    @property
    def answers(self) -> tuple[str, ...]:
        """What a run can ask for to be trained on it."""
        return answers(self.kind, self.index)


def answers(kind: str, index: int) -> tuple[str, ...]:
    """What a run can ask for to be trained on such a device."""
    return ("auto", kind, f"{kind}:{index}") if kind == "cuda" else ("auto", kind)


class Claim(_Event):
    """A free slot asks for a run; the answer goes to the Redis list ``reply``."""

    claim: str
    worker: str
    slot: Whole
    device: DeviceFacts
    reply: str


class Holding(_Event):
    run: str
    fence: Whole


class Heartbeat(_Event):
    """A worker is alive and still holds these runs; renews their leases.

    ``asleep_seconds``: how long its machine has been suspended since it booted.
    """

    worker: str
    beat: int
    host: str
    pid: Whole
    slots: Whole
    device: DeviceFacts
    versions: dict[str, str]
    runs: list[Holding]
    asleep_seconds: float = Field(0.0, ge=0, allow_inf_nan=False)


class Ended(_Event):
    """A trainer process is gone without a Result of its own, or its supervisor ended it."""

    run: str
    fence: Whole
    outcome: Outcome
    reason: str


class Goodbye(_Event):
    """A worker has stopped in good order and holds nothing more."""

    worker: str


TRAINER_EVENTS: dict[str, type[_Event]] = {
    "started": Started,
    "progress": Progress,
    "log": Log,
    "checkpoint": Checkpoint,
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


# What the recorder answers -------------------------------------------------------------------------------------------


ChangeKind = Literal["stop_after_epoch", "epochs", "lr_factor", "checkpoint", "note"]


class Change(_Event):
    """What a user asks of a run while it trains: at ``step``, or, without one, before the next step.

    ``applied``: it was done there by an earlier attempt, and is done again by one that goes on from before; ``epochs``
    is then how many the run had in all from there on.
    """

    id: Whole
    kind: ChangeKind
    value: int | float | str | None = None
    step: Whole | None = None
    epochs: Whole | None = None
    applied: bool = False


class Asked(_Event):
    """What waits to be changed of a run."""

    run: str
    changes: list[Change]


class Grant(_Event):
    """Answer to a Claim: a run to train, or nothing (``run`` empty), and what was and is to be changed of it."""

    run: str = ""
    fence: int = 0
    attempt: int = 0
    config: RunConfig | None = None
    resume: Checkpoint | None = None
    changes: list[Change] = []


class Renewal(_Event):
    """Answer to a Heartbeat: it was heard; of the runs held, these are to be stopped or are no longer the worker's.

    ``asked``: what is to be changed of them, as often as it is not done.
    """

    beat: int
    cancel: list[Holding] = []
    drop: list[Holding] = []
    asked: list[Asked] = []


# Metric points -------------------------------------------------------------------------------------------------------

_HEAD = struct.Struct("<dH")
_SERIES = struct.Struct("<HI")


@dataclass(frozen=True)
class Points:
    """Points of one metric: little-endian arrays of steps (uint32), values (float64) and time offsets (float32)."""

    name: str
    count: int
    steps: bytes
    values: bytes
    offsets: bytes


def pack_points(base_time: float, series: Iterable[Points]) -> bytes:
    """Body of a ``metrics`` entry; offsets are in seconds after ``base_time`` (seconds since 1970)."""
    parts: list[bytes] = []
    count = 0
    for each in series:
        name = each.name.encode()
        parts += (_SERIES.pack(len(name), each.count), name, each.steps, each.values, each.offsets)
        count += 1
    return b"".join((_HEAD.pack(base_time, count), *parts))


def unpack_points(body: bytes) -> tuple[float, list[Points]]:
    """Inverse of pack_points; raises ValueError when ``body`` is cut off or not such a body."""
    try:
        base_time, count = _HEAD.unpack_from(body)
        at = _HEAD.size
        found = []
        for _ in range(count):
            name_bytes, n = _SERIES.unpack_from(body, at)
            at += _SERIES.size
            ends = [at + name_bytes, at + name_bytes + 4 * n, at + name_bytes + 12 * n, at + name_bytes + 16 * n]
            if ends[-1] > len(body):
                raise ValueError("metric points are cut off")
            name = body[at : ends[0]].decode()
            found.append(Points(name, n, body[ends[0] : ends[1]], body[ends[1] : ends[2]], body[ends[2] : ends[3]]))
            at = ends[-1]
    except struct.error as error:
        raise ValueError(f"not a metrics entry: {error}") from error
    if at != len(body):
        raise ValueError("metric points are followed by something else")
    return base_time, found


def entry(run: str, fence: int, sequence: int, kind: str, body: bytes) -> dict[str, bytes | str | int]:
    """Fields of a stream entry that a trainer reports."""
    return {"r": run, "f": fence, "s": sequence, "k": kind, "b": body}
