"""Commit notices -> browsers: one Redis subscription a server process, fanned out in memory as server-sent events.

What is sent is read from the database, once for all who watch a run; a notice only says when to look. Every event
carries the commit it belongs to as its id, so a browser that comes back continues after the last one it saw.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from starlette.concurrency import run_in_threadpool

from app.contract import broker
from app.store.database import reading
from app.store.live_change import marks_of
from app.store.log import read_lines
from app.store.metric import Curve, read_since
from app.store.run import TERMINAL, Marks, RunRecord, load_run, read_marks

logger = logging.getLogger("runyard.live")

BATCH_SECONDS = 0.1
LOOK_SECONDS = 2.0
PING_SECONDS = 15.0
QUEUE_LENGTH = 300
LOG_LINES = 500
EVERYTHING = ""
RETRY = b"retry: 1000\n"

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
    def at(cls, commit: int) -> Cursor:
        """Told of everything up to this commit."""
        return cls(commit, commit, commit)

    @classmethod
    def parse(cls, words: str) -> Cursor:
        """Inverse of str(); raises ValueError."""
        parts = [int(word) for word in words.split(".")]
        if len(parts) not in (1, 3) or min(parts) < 0 or max(parts) >= 2**63:
            raise ValueError(f"not the id of an event: {words[:40]}")
        return cls(*parts) if len(parts) == 3 else cls.at(parts[0])

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


@dataclass(frozen=True)
class Changes:
    """What one look into the database found: the newest commit, the events that follow each cursor, and whether the
    run has ended, so that nothing will follow these.
    """

    commit: int
    frames: dict[Cursor, Frame]
    ended: bool


def newest_commit(engine: Engine) -> int:
    """The number of the last commit."""
    with reading(engine) as connection:
        return _newest(connection)


def _newest(connection: Connection) -> int:
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


def changes(engine: Engine, run_id: str, cursors: Collection[Cursor], describe: DescribeStatus) -> Changes:
    """What changed in a run after each of these cursors, all seen at the same commit."""
    with reading(engine) as connection:
        newest = _newest(connection)
        marks = read_marks(connection, run_id)
        if marks is None:
            gone = frame("gone", newest, {}) + frame("end", newest, {})
            return Changes(newest, dict.fromkeys(cursors, gone), True)
        found = {seen: _events(connection, run_id, marks, seen, newest, describe) for seen in cursors}
    ended = marks.status in TERMINAL
    end = frame("end", newest, {}) if ended else b""
    return Changes(newest, {seen: b"".join(frames) + end for seen, frames in found.items()}, ended)


def _events(
    connection: Connection, run_id: str, marks: Marks, seen: Cursor, newest: int, describe: DescribeStatus
) -> list[Frame]:
    frames = []
    points = read_since(connection, run_id, seen.metrics)
    if points is None or marks.reset_commit > seen.metrics:
        frames.append(frame("reset", Cursor(newest, seen.log, seen.state), {}))
    elif points:
        told = {name: curve_as_json(curve) for name, curve in points.items()}
        frames.append(frame("metrics", Cursor(newest, seen.log, seen.state), told))
    if lines := read_lines(connection, run_id, tail=LOG_LINES, after_commit=seen.log):
        frames.append(frame("log", Cursor(newest, newest, seen.state), lines))
    if happened := marks_of(connection, run_id, seen.state):
        told_marks = [asdict(each) for each in happened]
        frames.append(frame("mark", Cursor(newest, newest, seen.state), told_marks))
    if marks.progress_commit > seen.state:
        frames.append(frame("progress", Cursor(newest, newest, seen.state), json.loads(marks.progress)))
    if marks.status_commit > seen.state:
        record = load_run(connection, run_id)
        assert record is not None
        frames.append(frame("status", newest, describe(record)))
    return frames


@dataclass(frozen=True)
class _Batch:
    """Events that are ready to send; nothing follows the last."""

    frames: Frame
    last: bool = False


@dataclass(eq=False)
class _Viewer:
    """One stream, how far it was told, and what it has not sent on yet (None: it is to end)."""

    seen: Cursor
    greeted: bool = False
    queue: asyncio.Queue[_Batch | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_LENGTH))


@dataclass(eq=False)
class _Channel:
    """Those who watch one run, and what wakes the task that tells them: that something changed, or that one came."""

    viewers: set[_Viewer] = field(default_factory=set)
    look: asyncio.Event = field(default_factory=asyncio.Event)
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    told_at: float = 0.0
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

    def watch(self, run_id: str, after: Cursor) -> AsyncIterator[Frame]:
        """Everything that changes in a run after a cursor, each change once, until the run has ended."""
        return self._stream(run_id, _Viewer(after))

    def watch_all(self) -> AsyncIterator[Frame]:
        """A word whenever a run or a worker changed, at most ten times a second; the page asks what."""
        viewer = _Viewer(Cursor.at(0), greeted=True)
        viewer.queue.put_nowait(_Batch(RETRY + b"\n"))
        return self._stream(EVERYTHING, viewer)

    async def _stream(self, key: str, viewer: _Viewer) -> AsyncIterator[Frame]:
        if self._stopping.is_set():
            return
        channel = self._join(key, viewer)
        try:
            while (told := await viewer.queue.get()) is not None:
                yield told.frames
                if told.last:
                    return
        finally:
            self._leave(key, channel, viewer)

    def _join(self, key: str, viewer: _Viewer) -> _Channel:
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel()
            pump = self._pump_all(channel) if key == EVERYTHING else self._pump(key, channel)
            channel.task = asyncio.create_task(pump)
        channel.viewers.add(viewer)
        if not viewer.greeted:
            channel.joined.set()
            channel.look.set()
        return channel

    def _leave(self, key: str, channel: _Channel, viewer: _Viewer) -> None:
        channel.viewers.discard(viewer)
        if not channel.viewers and self._channels.get(key) is channel:
            del self._channels[key]
            if channel.task is not None:
                channel.task.cancel()

    async def _pump(self, run_id: str, channel: _Channel) -> None:
        try:
            while channel.viewers:
                await self._until_something_new(channel)
                # Whoever has just come is told in the same look as all the others, and is at the same commit from then
                # on: however many they are, they cost one reading.
                cursors = {viewer.seen for viewer in channel.viewers}
                found = await run_in_threadpool(changes, self.engine, run_id, cursors, self.describe)
                self._tell_changes(channel, found)
        except Exception:
            # Nobody may wait for what will not come: they are told to come back.
            logger.exception("%s cannot be told to those who watch it", run_id)
            for viewer in list(channel.viewers):
                _end(viewer)
        finally:
            if self._channels.get(run_id) is channel:
                del self._channels[run_id]

    async def _pump_all(self, channel: _Channel) -> None:
        told = await run_in_threadpool(newest_commit, self.engine)
        while True:
            noticed = await self._until_something_new(channel)
            newest = await run_in_threadpool(newest_commit, self.engine)
            # Also without a notice: one that is lost must leave no page as it was.
            if noticed or newest != told:
                self._tell(channel, list(channel.viewers), _Batch(b"event: changed\ndata: {}\n\n"))
            told = newest

    async def _until_something_new(self, channel: _Channel) -> bool:
        """True after a notice, or when someone has come who must be told what there is; False when it is time to look
        without one. What changes in between is told together.
        """
        found = await _set_within(BATCH_SECONDS, channel.joined)
        found = found or await _set_within(min(LOOK_SECONDS, PING_SECONDS), channel.look)
        channel.joined.clear()
        channel.look.clear()
        if not found and time.monotonic() - channel.told_at >= PING_SECONDS:
            self._tell(channel, list(channel.viewers), _PING)
        return found

    def _tell_changes(self, channel: _Channel, found: Changes) -> None:
        now = Cursor.at(found.commit)
        batches = {seen: _Batch(frames, found.ended) for seen, frames in found.frames.items()}
        for viewer in list(channel.viewers):
            batch = batches.get(viewer.seen)
            if batch is None:  # it came during this look, with another past: the next is for it
                continue
            viewer.seen = now
            if not viewer.greeted:
                viewer.greeted = True
                batch = _Batch(RETRY + f": at commit {now}\n\n".encode() + batch.frames, batch.last)
            if batch.frames:
                self._tell(channel, [viewer], batch)
            if batch.last:
                channel.viewers.discard(viewer)

    def _tell(self, channel: _Channel, viewers: Collection[_Viewer], batch: _Batch) -> None:
        channel.told_at = time.monotonic()
        for viewer in viewers:
            try:
                viewer.queue.put_nowait(batch)
            except asyncio.QueueFull:
                # It comes back by itself and reads from the database what it has missed.
                channel.viewers.discard(viewer)
                _end(viewer)


async def _set_within(seconds: float, event: asyncio.Event) -> bool:
    # Not wait_for: before Python 3.12 it forgets that it was cancelled when its time comes at that moment.
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def _cancelled(task: asyncio.Task[None]) -> None:
    # Asked again until it is done: redis-py, while it connects, may forget that it was cancelled.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


_PING = _Batch(b": still here\n\n")


def _end(viewer: _Viewer) -> None:
    # All of it goes: a viewer that is told a later batch without an earlier one would come back behind the gap.
    while not viewer.queue.empty():
        viewer.queue.get_nowait()
    viewer.queue.put_nowait(None)
