"""A worker and a trainer as the recorder sees them, driven by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from pydantic import BaseModel
from redis import Redis

from app.contract import broker
from app.contract.disk_space import DiskSpace
from app.contract.events import (
    Claim,
    DeviceInfo,
    Grant,
    Heartbeat,
    OwnedRun,
    Points,
    Renewal,
    Started,
    entry,
    pack_points,
)
from app.contract.packed_steps import pack_steps
from app.contract.protocol import PROTOCOL
from app.services.recorder import Recorder


@dataclass
class Trainer:
    """What a trainer process sends about one attempt."""

    redis: Redis
    run: str
    fence: int
    said: list[tuple[str, bytes]] = field(default_factory=list)

    def say(self, kind: str, said: BaseModel | bytes) -> int:
        """Send an entry; returns its number."""
        body = said if isinstance(said, bytes) else said.model_dump_json().encode()
        self.said.append((kind, body))
        self.send(len(self.said))
        return len(self.said)

    def keep(self, kind: str, said: BaseModel | bytes) -> int:
        """Write an entry into the spool only: Redis does not get it."""
        body = said if isinstance(said, bytes) else said.model_dump_json().encode()
        self.said.append((kind, body))
        return len(self.said)

    def send(self, first: int, last: int | None = None) -> None:
        """Send entries of the spool, again or not."""
        for number in range(first, (last or first) + 1):
            kind, body = self.said[number - 1]
            self.redis.xadd(broker.EVENTS, cast(Any, entry(self.run, self.fence, number, kind, body)))

    def start(self, step: int = 0) -> None:
        """The first step is about to be made."""
        self.say("started", Started(step=step, epoch=0, params=1000, environment={"python": "3.11"}))

    def points(self, **curves: list[tuple[int, float]]) -> int:
        """Send points; ``train__loss`` stands for train/loss."""
        return self.say("metrics", packed({name.replace("__", "/"): pairs for name, pairs in curves.items()}))

    @property
    def committed(self) -> int | None:
        """The number that the recorder says it has committed."""
        said = cast(Any, self.redis.hget(broker.COMMITTED, broker.committed_field(self.run, self.fence)))
        return None if said is None else int(said)


def _steps(steps: list[int]) -> bytes:
    return pack_steps(np.array(steps, np.int64), min(steps, default=0), max(steps, default=0))


def packed(curves: dict[str, list[tuple[int, float]]], base_time: float = 1_700_000_000.0) -> bytes:
    """Body of a metrics entry; a point's time is its step after the base."""
    return pack_points(
        base_time,
        [
            Points(
                name,
                len(pairs),
                _steps([step for step, _ in pairs]),
                np.array([value for _, value in pairs], "<f8").tobytes(),
                np.array([step for step, _ in pairs], "<f4").tobytes(),
            )
            for name, pairs in curves.items()
        ],
    )


class Worker:
    """A worker as the recorder sees one."""

    def __init__(self, redis: Redis, name: str = "w1", kind: str = "cpu", slots: int = 1) -> None:
        self.redis = redis
        self.name = name
        self.host = "here"
        self.slots = slots
        self.device = DeviceInfo.model_validate(
            {"kind": kind, "name": f"made-up {kind}", "memory_bytes": 2**34, "cores": 2}
        )
        self.claims = 0
        self.beats = 0
        self.disk: DiskSpace | None = None
        self.waiting: list[str] = []
        self.protocol = PROTOCOL
        self.versions = {"torch": "2"}
        # As earlier versions, it does not say which.
        self.command_key: str | None = None

    def send(self, kind: str, said: BaseModel, entry_id: str = "*") -> None:
        """Send what a supervisor says."""
        self.redis.xadd(broker.EVENTS, cast(Any, {"k": kind, "b": said.model_dump_json()}), id=entry_id)

    def claim(self, claim: str = "", slot: int = 0) -> Claim:
        """A claim of a free slot."""
        self.claims += 1
        claim = claim or f"{self.name}-{self.claims}"
        said = Claim(claim=claim, worker=self.name, slot=slot, device=self.device, reply=f"reply:{claim}")
        return said.model_copy(update=self._identity)

    @property
    def _identity(self) -> dict[str, Any]:
        return {"protocol": self.protocol, "command_key": self.command_key}

    def ask(self, claim: str = "", slot: int = 0) -> str:
        """Send a claim; returns where the answer will lie."""
        said = self.claim(claim, slot)
        self.send("claim", said)
        return said.reply

    def answer(self, reply: str) -> Grant | None:
        """The answer to a claim, if there is one."""
        said = cast(Any, self.redis.lpop(reply))
        return None if said is None else Grant.model_validate_json(said)

    def beat(self, *held: tuple[str, int], entry_id: str = "*", asleep: float = 0.0) -> int:
        """Send a heartbeat of a machine that has been suspended for ``asleep`` seconds; returns its number."""
        self.beats += 1
        said = Heartbeat(
            worker=self.name,
            beat=self.beats,
            host=self.host,
            pid=1,
            slots=self.slots,
            device=self.device,
            versions=self.versions,
            runs=[OwnedRun(run=run, fence=fence) for run, fence in held],
            asleep_seconds=asleep,
            disk=self.disk,
            waiting=self.waiting,
            **self._identity,
        )
        self.send("heartbeat", said, entry_id)
        return self.beats

    @property
    def renewal(self) -> Renewal | None:
        """The answer to the last heartbeat."""
        said = cast(Any, self.redis.get(broker.renewal_key(self.name)))
        return None if said is None else Renewal.model_validate_json(said)

    def train(self, recorder: Recorder) -> Trainer:
        """Claim the next run and start to train it."""
        reply = self.ask()
        recorder.step()
        grant = self.answer(reply)
        assert grant is not None
        assert grant.run
        trainer = Trainer(self.redis, grant.run, grant.fence)
        trainer.start()
        recorder.step()
        return trainer
