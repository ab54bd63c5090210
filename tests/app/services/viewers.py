"""Viewers of live runs for tests: browsers that watch a hub, and a recorder that feeds it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, cast

import pytest
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from app.contract import broker
from app.contract.events import Result
from app.routes.runs.api import run_status
from app.services import live
from app.services.live import Cursor, Hub, changes
from app.services.recorder import Recorder
from tests.conftest import run_apart
from tests.fake_worker import Trainer

Event = tuple[str, str, Any]


def events_of(frames: bytes) -> list[Event]:
    """Parse server-sent events into event, id and data, as a browser does."""
    found = []
    for block in frames.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "event" in fields:
            data = json.loads(fields["data"], parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
            found.append((fields["event"], fields.get("id", ""), data))
    return found


def events_after(engine: Engine, run: str, seen: Cursor) -> list[Event]:
    """The events for a viewer with this cursor."""
    return events_of(changes(engine, run, [seen], run_status).frames[seen])


def points_of(events: list[Event], name: str = "train/loss") -> list[int]:
    """Steps of the received points, in the order received."""
    told = [data[name]["step"] for event, _, data in events if event == "metrics" and name in data]
    return [step for steps in told for step in steps]


class Viewer:
    """A browser that watches a run."""

    def __init__(self, hub: Hub, run: str, after: str | int = 0) -> None:
        self.events: list[Event] = []
        self.last = str(after)
        self.raw = b""
        self._stream = hub.watch(run, Cursor.parse(self.last))
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for frames in self._stream:
            self.raw += frames
            for event in events_of(frames):
                self.events.append(event)
                self.last = event[1]

    async def leave(self) -> str:
        """Close the page; returns the last event's id."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            async with asyncio.timeout(30):
                await self._task
        await cast(Any, self._stream).aclose()
        return self.last

    async def until_end(self) -> list[Event]:
        """All events, once the stream has ended by itself."""
        async with asyncio.timeout(30):
            await self._task
        return self.events

    async def until_told(self, ready: Callable[[list[Event]], bool]) -> None:
        """Wait until enough was received."""
        await eventually(lambda: ready(self.events))


async def eventually(ready: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not ready():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(engine: Engine, redis: Redis, url: str) -> AsyncIterator[Hub]:
    hub = Hub(engine, url, run_status)
    await hub.start()
    try:
        await eventually(lambda: cast(Any, redis.pubsub_numsub(broker.COMMITS))[0][1] > 0)
        yield hub
    finally:
        await hub.stop()
        # A subscription left open would be counted in the next test.
        await eventually(lambda: cast(Any, redis.pubsub_numsub(broker.COMMITS))[0][1] == 0)


class Yard:
    """A hub, and a recorder to feed it."""

    def __init__(self, engine: Engine, redis: Redis, url: str, recorder: Recorder, trainer: Trainer) -> None:
        self.engine, self.redis, self.url, self.recorder, self.trainer = engine, redis, url, recorder, trainer
        self.step = 0

    def play(self, act: Callable[[Hub], Awaitable[None]]) -> None:
        """Run a scenario with a listening hub."""

        async def told() -> None:
            async with running(self.engine, self.redis, self.url) as hub:
                await act(hub)

        run_apart(told())

    async def record(self, points: int = 1) -> None:
        """One commit with the next points."""
        pairs = [(self.step + i, float(self.step + i)) for i in range(points)]
        self.step += points
        self.trainer.points(train__loss=pairs)
        await asyncio.to_thread(self.recorder.step)

    async def finish(self) -> None:
        """The last commit."""
        self.trainer.say("result", Result(outcome="succeeded"))
        await asyncio.to_thread(self.recorder.step)


class Looks:
    """Counts the hub's database reads, which can be delayed or made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.ended = 0
        self.failing = False
        self._free = threading.Event()
        self._free.set()
        monkeypatch.setattr(live, "changes", self._look)

    def _look(self, *said: Any) -> live.Changes:
        self.begun += 1
        assert self._free.wait(60)
        if self.failing:
            raise OperationalError("SELECT", {}, Exception("database is locked"))
        found = changes(*said)
        self.ended += 1
        return found

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay reads that begin in this context until it ends."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()
