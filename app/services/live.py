"""Live updates for browsers: one Redis subscription per server process, fanned out as server-sent events.

Events are read from the database, once for all viewers of a run; a commit notice only says when to look. Every event's
id is the commit it belongs to, so a browser that reconnects continues after the last event it received.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from starlette.concurrency import run_in_threadpool

from app.contract import broker
from app.store.database import reading
from app.store.live_change import list_marks
from app.store.log import read_lines
from app.store.metric import Curve, read_since
from app.store.run import TERMINAL, RunRecord, RunState, load_run, read_state

logger = logging.getLogger("runyard.live")

BATCH_SECONDS = 0.1
LOOK_SECONDS = 2.0
PING_SECONDS = 15.0
QUEUE_LENGTH = 300
LOG_LINES = 500
EVERYTHING = ""
RETRY = b"retry: 1000\n"

Frame = bytes
_T = TypeVar("_T")


@dataclass(frozen=True)
class Cursor:
    """How much a viewer has received of a run's points, log and state: a commit for each.

    A connection can break between the events of one commit. Written as an event id ("17.15.15", or "17" if all three
    are equal), it lets the viewer continue with exactly what is missing.
    """

    metrics: int
    log: int
    state: int

    @classmethod
    def at(cls, commit: int) -> Cursor:
        """A viewer that has received everything up to this commit."""
        return cls(commit, commit, commit)

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Parse an event id; raises ValueError."""
        parts = [int(word) for word in text.split(".")]
        if len(parts) not in (1, 3) or min(parts) < 0 or max(parts) >= 2**63:
            raise ValueError(f"not an event id: {text[:40]}")
        return cls(*parts) if len(parts) == 3 else cls.at(parts[0])

    def __str__(self) -> str:
        alike = self.metrics == self.log == self.state
        return str(self.state) if alike else f"{self.metrics}.{self.log}.{self.state}"


DescribeStatus = Callable[[RunRecord], dict[str, Any]]


def frame(event: str, cursor: Cursor | int, data: Any) -> Frame:
    """Format one server-sent event; non-finite values are not valid JSON and must be null already."""
    body = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return f"event: {event}\nid: {cursor}\ndata: {body}\n\n".encode()


LARGEST_EXACT = 2**53 - 1
"""JavaScript's numbers are exact between this and its negative."""


def curve_as_json(curve: Curve) -> dict[str, list[Any]]:
    """A curve as lists; non-finite values become null."""
    finite = [value if value - value == 0 else None for value in curve.values.tolist()]
    return {"step": curve.steps.tolist(), "value": finite, "time": curve.times.round(3).tolist()}


def curve_for_browser(curve: Curve) -> dict[str, list[Any]]:
    """The same for a page: with ``exact``, the steps as text, if JavaScript cannot hold one of them."""
    lists = curve_as_json(curve)
    steps = lists["step"]
    # Steps are sorted.
    if steps and max(-steps[0], steps[-1]) > LARGEST_EXACT:
        lists["exact"] = [str(step) for step in steps]
    return lists


@dataclass(frozen=True)
class Changes:
    """The result of one database read: the newest commit, the events that follow each cursor, and whether the run has
    ended, so that no more will follow.
    """

    commit: int
    frames: dict[Cursor, Frame]
    ended: bool


def newest_commit(engine: Engine) -> int:
    """The number of the newest commit."""
    with reading(engine) as connection:
        return _newest(connection)


def _newest(connection: Connection) -> int:
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


def changes(engine: Engine, run_id: str, cursors: Collection[Cursor], describe: DescribeStatus) -> Changes:
    """What changed in a run after each of these cursors, all read at the same commit."""
    with reading(engine) as connection:
        newest = _newest(connection)
        marks = read_state(connection, run_id)
        if marks is None:
            gone = frame("gone", newest, {}) + frame("end", newest, {})
            return Changes(newest, dict.fromkeys(cursors, gone), True)
        frames_by_cursor = {seen: _events(connection, run_id, marks, seen, newest, describe) for seen in cursors}
    ended = marks.status in TERMINAL
    end = frame("end", newest, {}) if ended else b""
    return Changes(newest, {seen: b"".join(frames) + end for seen, frames in frames_by_cursor.items()}, ended)


def _events(
    connection: Connection, run_id: str, marks: RunState, seen: Cursor, newest: int, describe: DescribeStatus
) -> list[Frame]:
    frames = []
    points = read_since(connection, run_id, seen.metrics)
    if points is None or marks.reset_commit > seen.metrics:
        frames.append(frame("reset", Cursor(newest, seen.log, seen.state), {}))
    elif points:
        curves = {name: curve_for_browser(curve) for name, curve in points.items()}
        frames.append(frame("metrics", Cursor(newest, seen.log, seen.state), curves))
    if lines := read_lines(connection, run_id, tail=LOG_LINES, after_commit=seen.log):
        frames.append(frame("log", Cursor(newest, newest, seen.state), lines))
    if marks_since := list_marks(connection, run_id, seen.state):
        new_marks = [asdict(mark) for mark in marks_since]
        frames.append(frame("mark", Cursor(newest, newest, seen.state), new_marks))
    if marks.progress_commit > seen.state:
        frames.append(frame("progress", Cursor(newest, newest, seen.state), json.loads(marks.progress)))
    if marks.status_commit > seen.state:
        record = load_run(connection, run_id)
        assert record is not None
        frames.append(frame("status", newest, describe(record)))
    return frames


@dataclass(frozen=True)
class _Batch:
    """Events that are ready to send; nothing follows the ``last``."""

    frames: Frame
    last: bool = False


@dataclass(eq=False)
class _Viewer:
    """One stream: how much it has received, and a queue of batches to send (None ends it)."""

    seen: Cursor
    greeted: bool = False
    queue: asyncio.Queue[_Batch | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_LENGTH))


@dataclass(eq=False)
class _Channel:
    """The viewers of one run, and the events that wake the task that serves them: a change, or a new viewer."""

    viewers: set[_Viewer] = field(default_factory=set)
    look: asyncio.Event = field(default_factory=asyncio.Event)
    joined: asyncio.Event = field(default_factory=asyncio.Event)
    sent_at: float = 0.0
    task: asyncio.Task[None] | None = None


class Hub:
    """Sends commits to browsers; start and stop it with the server.

    on_jobs: called without waiting when jobs on models may have been queued by another process.
    """

    def __init__(
        self, engine: Engine, redis_url: str, describe: DescribeStatus, on_jobs: Callable[[], None] = lambda: None
    ) -> None:
        self.engine = engine
        self.redis_url = redis_url
        self.describe = describe
        self.on_jobs = on_jobs
        self._channels: dict[str, _Channel] = {}
        self._reads: set[asyncio.Future[Any]] = set()
        self._listener: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Start listening for commits."""
        self._listener = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """End all streams, and wait for database reads that are running: afterwards, the database can be closed."""
        self._stopping.set()
        for channel in list(self._channels.values()):
            for viewer in list(channel.viewers):
                _end(viewer)
        tasks = [channel.task for channel in self._channels.values() if channel.task] + [self._listener]
        await asyncio.gather(*(_cancelled(task) for task in tasks if task))
        await asyncio.gather(*self._reads, return_exceptions=True)

    async def _read(self, function: Callable[..., _T], *arguments: Any) -> _T:
        # A thread cannot be cancelled: the read goes on after the task that wanted it.
        read = asyncio.ensure_future(run_in_threadpool(function, *arguments))
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)
        return await asyncio.shield(read)

    async def _listen(self) -> None:
        while True:
            client = Redis.from_url(self.redis_url)
            try:
                async with client.pubsub() as subscription:
                    await subscription.subscribe(broker.COMMITS)
                    self._wake_all()
                    # A notice may have been lost meanwhile.
                    self.on_jobs()
                    async for message in subscription.listen():
                        if message["type"] == "message":
                            self._on_notice(json.loads(message["data"]))
            except (RedisError, OSError) as error:
                logger.info("Redis does not respond (%s); polling the database until it does", error)
                await asyncio.sleep(0.5)
            finally:
                await client.aclose()

    def _on_notice(self, notice: dict[str, Any]) -> None:
        for run_id in notice["runs"]:
            if run_id in self._channels:
                self._channels[run_id].look.set()
        if EVERYTHING in self._channels:
            self._channels[EVERYTHING].look.set()
        if any("job" in what for what in notice["runs"].values()):
            self.on_jobs()

    def _wake_all(self) -> None:
        for channel in self._channels.values():
            channel.look.set()

    # One run ---------------------------------------------------------------------------------------------------------

    def watch(self, run_id: str, after: Cursor) -> AsyncIterator[Frame]:
        """Stream every change of a run after a cursor, each exactly once, until the run has ended."""
        return self._stream(run_id, _Viewer(after))

    def watch_all(self) -> AsyncIterator[Frame]:
        """Stream a message when a run or worker changed, at most ten times a second; the page then fetches updates."""
        viewer = _Viewer(Cursor.at(0), greeted=True)
        viewer.queue.put_nowait(_Batch(RETRY + b"\n"))
        return self._stream(EVERYTHING, viewer)

    async def _stream(self, key: str, viewer: _Viewer) -> AsyncIterator[Frame]:
        if self._stopping.is_set():
            return
        channel = self._join(key, viewer)
        try:
            while (batch := await viewer.queue.get()) is not None:
                yield batch.frames
                if batch.last:
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
                await self._wait_for_change(channel)
                # New viewers are served by the same read as all others and are at the same commit from then on, so that
                # any number of viewers costs one read.
                cursors = {viewer.seen for viewer in channel.viewers}
                update = await self._read(changes, self.engine, run_id, cursors, self.describe)
                self._send_changes(channel, update)
        except Exception:
            # End the streams instead of leaving viewers waiting; their browsers reconnect.
            logger.exception("could not send updates of run %s to its viewers", run_id)
            for viewer in list(channel.viewers):
                _end(viewer)
        finally:
            if self._channels.get(run_id) is channel:
                del self._channels[run_id]

    async def _pump_all(self, channel: _Channel) -> None:
        sent = await self._read(newest_commit, self.engine)
        while True:
            noticed = await self._wait_for_change(channel)
            newest = await self._read(newest_commit, self.engine)
            # Also without a notice, so that a lost one leaves no page outdated.
            if noticed or newest != sent:
                self._send(channel, list(channel.viewers), _Batch(b"event: changed\ndata: {}\n\n"))
            sent = newest

    async def _wait_for_change(self, channel: _Channel) -> bool:
        """Wait for a notice or a new viewer (True), or until it is time to check without one (False).

        Changes that arrive in the meantime are sent together.
        """
        noticed = await _set_within(BATCH_SECONDS, channel.joined)
        noticed = noticed or await _set_within(min(LOOK_SECONDS, PING_SECONDS), channel.look)
        channel.joined.clear()
        channel.look.clear()
        if not noticed and time.monotonic() - channel.sent_at >= PING_SECONDS:
            self._send(channel, list(channel.viewers), _PING)
        return noticed

    def _send_changes(self, channel: _Channel, update: Changes) -> None:
        now = Cursor.at(update.commit)
        batches = {seen: _Batch(frames, update.ended) for seen, frames in update.frames.items()}
        for viewer in list(channel.viewers):
            batch = batches.get(viewer.seen)
            if batch is None:  # it joined during this read with another cursor; the next read serves it
                continue
            viewer.seen = now
            if not viewer.greeted:
                viewer.greeted = True
                batch = _Batch(RETRY + f": at commit {now}\n\n".encode() + batch.frames, batch.last)
            if batch.frames:
                self._send(channel, [viewer], batch)
            if batch.last:
                channel.viewers.discard(viewer)

    def _send(self, channel: _Channel, viewers: Collection[_Viewer], batch: _Batch) -> None:
        channel.sent_at = time.monotonic()
        for viewer in viewers:
            try:
                viewer.queue.put_nowait(batch)
            except asyncio.QueueFull:
                # Its browser reconnects and reads what it missed from the database.
                channel.viewers.discard(viewer)
                _end(viewer)


async def _set_within(seconds: float, event: asyncio.Event) -> bool:
    # Not wait_for: before Python 3.12 it swallows a cancellation that arrives together with the timeout.
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


async def _cancelled(task: asyncio.Task[None]) -> None:
    # Repeated until it is done: redis-py may swallow a cancellation while it connects.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


_PING = _Batch(b": still here\n\n")


def _end(viewer: _Viewer) -> None:
    # Drop everything: a viewer that received a later batch without an earlier one would reconnect after the gap.
    while not viewer.queue.empty():
        viewer.queue.get_nowait()
    viewer.queue.put_nowait(None)
