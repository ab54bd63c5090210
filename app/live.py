"""Commit notices -> browsers: one Redis subscription a server process, fanned out in memory as server-sent events.

What is sent is read from the database, once for all who watch a run; a notice only says when to look. Every event
carries the commit it belongs to as its id, so a browser that comes back continues after the last one it saw.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine, text
from starlette.concurrency import run_in_threadpool

from app.contract import broker
from app.store.database import reading
from app.store.log import read_lines
from app.store.metric import Curve, read_since
from app.store.run import TERMINAL, RunRecord, load_run

logger = logging.getLogger("runyard.live")

BATCH_SECONDS = 0.1
LOOK_SECONDS = 2.0
PING_SECONDS = 15.0
QUEUE_LENGTH = 300
LOG_LINES = 500
EVERYTHING = ""

Frame = bytes


@dataclass(frozen=True)
class Cursor:
    """How far a viewer was told of a run's points, its log and its state: a commit each.

    A connection can break between the events of one commit; written as an event's id ("17.15.15", or "17" where all
    three are alike) it lets the viewer go on with exactly what is missing.
    """

    metrics: int
    log: int
    state: int

    @classmethod
    def parse(cls, words: str) -> Cursor:
        """Inverse of str(); raises ValueError."""
        parts = [int(word) for word in words.split(".")]
        if len(parts) not in (1, 3) or min(parts) < 0 or max(parts) >= 2**63:
            raise ValueError(f"not the id of an event: {words[:40]}")
        return cls(*parts) if len(parts) == 3 else cls(parts[0], parts[0], parts[0])

    def __str__(self) -> str:
        alike = self.metrics == self.log == self.state
        return str(self.state) if alike else f"{self.metrics}.{self.log}.{self.state}"


DescribeStatus = Callable[[RunRecord], dict[str, Any]]


def frame(event: str, cursor: Cursor | int, data: Any) -> Frame:
    """One server-sent event. Values that JSON has no word for (NaN, infinities) are sent as null."""
    said = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f"event: {event}\nid: {cursor}\ndata: {said}\n\n".encode()


def curve_as_json(curve: Curve) -> dict[str, list[Any]]:
    """A curve as lists; a value that is not finite is null."""
    finite = [value if value - value == 0 else None for value in curve.values.tolist()]
    return {"step": curve.steps.tolist(), "value": finite, "time": curve.times.round(3).tolist()}


def changes(
    engine: Engine, run_id: str, after: Cursor | int, describe: DescribeStatus
) -> tuple[int, list[Frame], bool]:
    """What changed in a run after a cursor: the newest commit, the events, and whether the run has ended."""
    seen = after if isinstance(after, Cursor) else Cursor(after, after, after)
    with reading(engine) as connection:
        newest = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
        record = load_run(connection, run_id)
        if record is None:
            return newest, [frame("gone", newest, {})], True
        points = read_since(connection, run_id, seen.metrics)
        lines = read_lines(connection, run_id, tail=LOG_LINES, after_commit=seen.log)
    frames = []
    if points is None or record.reset_commit > seen.metrics:
        frames.append(frame("reset", Cursor(newest, seen.log, seen.state), {}))
    elif points:
        told = {name: curve_as_json(curve) for name, curve in points.items()}
        frames.append(frame("metrics", Cursor(newest, seen.log, seen.state), told))
    if lines:
        frames.append(frame("log", Cursor(newest, newest, seen.state), lines))
    if record.progress_commit > seen.state:
        frames.append(frame("progress", Cursor(newest, newest, seen.state), record.progress))
    if record.status_commit > seen.state:
        frames.append(frame("status", newest, describe(record)))
    return newest, frames, record.status in TERMINAL


@dataclass(frozen=True)
class _Batch:
    """Events of the commits after ``start`` up to ``commit``, ready to send."""

    start: int
    commit: int
    frames: Frame
    last: bool = False


@dataclass(eq=False)
class _Viewer:
    queue: asyncio.Queue[_Batch | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_LENGTH))


@dataclass(eq=False)
class _Channel:
    """Those who watch one run, and how far they were told of it."""

    cursor: int
    viewers: set[_Viewer] = field(default_factory=set)
    look: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Hub:
    """Tells browsers of commits; start and stop it with the server."""

    def __init__(self, engine: Engine, redis_url: str, describe: DescribeStatus) -> None:
        self.engine = engine
        self.redis_url = redis_url
        self.describe = describe
        self._channels: dict[str, _Channel] = {}
        self._listener: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin to listen."""
        self._listener = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """End every stream."""
        self._stopping.set()
        for channel in list(self._channels.values()):
            for viewer in list(channel.viewers):
                _end(viewer)
        tasks = [channel.task for channel in self._channels.values() if channel.task] + [self._listener]
        await asyncio.gather(*(_cancelled(task) for task in tasks if task))

    async def _listen(self) -> None:
        while True:
            client = Redis.from_url(self.redis_url)
            try:
                async with client.pubsub() as subscription:
                    await subscription.subscribe(broker.COMMITS)
                    self._look_everywhere()
                    async for message in subscription.listen():
                        if message["type"] == "message":
                            self._hear(json.loads(message["data"]))
            except (RedisError, OSError) as error:
                logger.info("Redis does not answer (%s); looking into the database until it does", error)
                await asyncio.sleep(0.5)
            finally:
                await client.aclose()

    def _hear(self, notice: dict[str, Any]) -> None:
        for run_id in notice["runs"]:
            if run_id in self._channels:
                self._channels[run_id].look.set()
        if EVERYTHING in self._channels:
            self._channels[EVERYTHING].look.set()

    def _look_everywhere(self) -> None:
        for channel in self._channels.values():
            channel.look.set()

    # One run ---------------------------------------------------------------------------------------------------------

    async def watch(self, run_id: str, after: Cursor | int) -> AsyncIterator[Frame]:
        """Everything that changes in a run after a cursor, each change once, until the run has ended."""
        viewer = _Viewer()
        channel = self._join(run_id, viewer, after if isinstance(after, int) else after.state)
        try:
            # Whoever comes late reads up to now by itself; what the channel tells meanwhile waits in the queue.
            batch = await self._read(run_id, after)
            seen = batch.commit
            yield f"retry: 1000\n: at commit {seen}\n\n".encode() + batch.frames
            while not batch.last:
                told = await self._next(viewer)
                if told is None:
                    return
                if told.commit <= seen:
                    if told is _PING:
                        yield told.frames
                    continue
                # A batch that reaches back behind what this viewer has seen would tell part of it twice.
                batch = told if told.start >= seen else await self._read(run_id, seen)
                seen = batch.commit
                if batch.frames:
                    yield batch.frames
        finally:
            self._leave(run_id, channel, viewer)

    async def watch_all(self) -> AsyncIterator[Frame]:
        """A word whenever a run or a worker changed, at most ten times a second; the page asks what."""
        viewer = _Viewer()
        channel = self._join(EVERYTHING, viewer, 0)
        try:
            yield b"retry: 1000\n\n"
            while (told := await self._next(viewer)) is not None:
                yield told.frames
        finally:
            self._leave(EVERYTHING, channel, viewer)

    async def _next(self, viewer: _Viewer) -> _Batch | None:
        if self._stopping.is_set():
            return None
        try:
            # Not wait_for: before Python 3.12 it forgets that it was cancelled when its time comes at that moment.
            async with asyncio.timeout(PING_SECONDS):
                return await viewer.queue.get()
        except TimeoutError:
            return _PING

    async def _read(self, run_id: str, after: Cursor | int) -> _Batch:
        newest, frames, ended = await run_in_threadpool(changes, self.engine, run_id, after, self.describe)
        if ended:
            frames.append(frame("end", newest, {}))
        start = after if isinstance(after, int) else after.state
        return _Batch(start, newest, b"".join(frames), ended)

    def _join(self, key: str, viewer: _Viewer, after: int) -> _Channel:
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(after)
            pump = self._pump_all(channel) if key == EVERYTHING else self._pump(key, channel)
            channel.task = asyncio.create_task(pump)
        channel.viewers.add(viewer)
        return channel

    def _leave(self, key: str, channel: _Channel, viewer: _Viewer) -> None:
        channel.viewers.discard(viewer)
        if not channel.viewers and self._channels.get(key) is channel:
            del self._channels[key]
            if channel.task is not None:
                channel.task.cancel()

    async def _pump(self, run_id: str, channel: _Channel) -> None:
        while True:
            await self._until_something_new(channel)
            batch = await self._read(run_id, channel.cursor)
            channel.cursor = batch.commit
            if batch.frames:
                self._tell(channel, batch)
            if batch.last:
                return

    async def _pump_all(self, channel: _Channel) -> None:
        while True:
            if await self._until_something_new(channel):
                self._tell(channel, _Batch(0, 0, b"event: changed\ndata: {}\n\n"))

    async def _until_something_new(self, channel: _Channel) -> bool:
        """True after a notice, False when it is time to look without one; what changes in between is told together."""
        await asyncio.sleep(BATCH_SECONDS)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await channel.look.wait()
        except TimeoutError:
            return False
        channel.look.clear()
        return True

    def _tell(self, channel: _Channel, batch: _Batch) -> None:
        for viewer in list(channel.viewers):
            try:
                viewer.queue.put_nowait(batch)
            except asyncio.QueueFull:
                # It comes back by itself and reads from the database what it has missed.
                channel.viewers.discard(viewer)
                _end(viewer)


async def _cancelled(task: asyncio.Task[None]) -> None:
    # Asked again until it is done: redis-py, while it connects, may forget that it was cancelled.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


_PING = _Batch(0, -1, b": still here\n\n")


def _end(viewer: _Viewer) -> None:
    # All of it goes: a viewer that is told a later batch without an earlier one would come back behind the gap.
    while not viewer.queue.empty():
        viewer.queue.get_nowait()
    viewer.queue.put_nowait(None)
