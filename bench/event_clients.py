"""Many clients of one run's event stream, in a separate process that measures the age of every point.

``python -m bench.event_clients ADDRESS`` reads JSON commands and answers each with a line of JSON. It does as little as
possible per client: one socket each, and frames that are equal for several clients are parsed once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

HEAD_END = b"\r\n\r\n"
LONGEST_WAIT_SECONDS = 60.0


@dataclass
class Events:
    """Contents of one piece of a stream: steps and times of each metric, and whether the stream ended."""

    steps: dict[str, list[int]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    last: bool = False


class FrameParser:
    """Parses the frames of streams, equal ones once."""

    def __init__(self) -> None:
        self._cache: dict[bytes, Events] = {}

    def read(self, frames: bytes) -> Events:
        """Parse complete server-sent events."""
        events = self._cache.get(frames)
        if events is None:
            events = self._cache[frames] = _parse(frames)
            if len(self._cache) > 2000:
                self._cache.pop(next(iter(self._cache)))
        return events


def _parse(frames: bytes) -> Events:
    events = Events()
    for block in frames.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        match fields.get("event"):
            case "metrics":
                for name, curve in json.loads(fields["data"]).items():
                    events.steps.setdefault(name, []).extend(curve["step"])
                    events.times.setdefault(name, []).extend(curve["time"])
            case "end":
                events.last = True
            case "reset":
                raise RuntimeError("received a reset: this client fell too far behind")
    return events


class StreamClient(asyncio.Protocol):
    """One stream, read to its end or until it is closed; every piece is stored with its time of arrival."""

    def __init__(self, parser: FrameParser, request: bytes) -> None:
        self.pieces: list[tuple[float, Events]] = []
        self.received_bytes = 0
        self.started = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self._parser = parser
        self._request = request
        self._buffer = b""
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.received_bytes += len(data)
        buffer = self._buffer + data if self._buffer else data
        try:
            if not self._in_body:
                head, separator, buffer = buffer.partition(HEAD_END)
                if not separator:
                    self._buffer = head
                    return
                if b" 200 " not in head.split(b"\r\n", 1)[0]:
                    raise RuntimeError(head.decode(errors="replace"))
                self._in_body = True
            self._buffer = self._consume(buffer, now)
        except (RuntimeError, ValueError) as error:
            self.transport.abort()
            if not self.closed.done():
                self.closed.set_exception(error)

    def _consume(self, buffer: bytes, now: float) -> bytes:
        while (end := buffer.find(b"\r\n")) >= 0:
            size = int(buffer[:end], 16)
            if len(buffer) < end + size + 4:
                break
            if not size:
                self.transport.close()
                return b""
            self.pieces.append((now, self._parser.read(buffer[end + 2 : end + 2 + size])))
            if not self.started.done():
                self.started.set_result(None)
            buffer = buffer[end + size + 4 :]
        return buffer

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    @property
    def ended(self) -> bool:
        """Whether the stream sent its end event."""
        return any(events.last for _, events in self.pieces[-2:])

    def steps(self) -> dict[str, list[int]]:
        """Steps of each metric in the order of arrival."""
        steps_by_metric: dict[str, list[int]] = {}
        for _, events in self.pieces:
            for name, steps in events.steps.items():
                steps_by_metric.setdefault(name, []).extend(steps)
        return steps_by_metric

    def ages(self, since: float) -> np.ndarray:
        """Seconds from log call to arrival, for every point logged after ``since`` (seconds since 1970)."""
        pieces = [(at, np.array(times)) for at, events in self.pieces for times in events.times.values()]
        return np.concatenate([at - times[times >= since] for at, times in pieces])


class Clients:
    """The current clients."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.port = str(parts.hostname), int(parts.port or 80)
        self.viewers: list[StreamClient] = []

    async def join(self, run: str, viewers: int, after: str) -> dict[str, Any]:
        """Open ``viewers`` streams and wait until each has received something."""
        path = f"/api/v1/runs/{run}/events?after={after}"
        request = f"GET {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\naccept: text/event-stream\r\n\r\n".encode()
        parser = FrameParser()
        self.viewers = []
        loop = asyncio.get_running_loop()
        for _ in range(viewers):
            _, viewer = await loop.create_connection(lambda: StreamClient(parser, request), self.host, self.port)
            self.viewers.append(viewer)
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            for viewer in self.viewers:
                await asyncio.wait({viewer.started, viewer.closed}, return_when=asyncio.FIRST_COMPLETED)
        return {"joined": viewers}

    async def until_end(self, steps: int, metrics: list[str], since: float) -> dict[str, Any]:
        """Wait for the end of every stream; count points and compute ages in ms of those logged after ``since``.

        Raises RuntimeError unless every client received each of ``steps`` steps of ``metrics`` once and in order.
        """
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await asyncio.gather(*(viewer.closed for viewer in self.viewers))
        expected = {name: list(range(1, steps + 1)) for name in metrics}
        for number, viewer in enumerate(self.viewers):
            if not viewer.ended or viewer.steps() != expected:
                counts = {name: len(received) for name, received in viewer.steps().items()}
                raise RuntimeError(f"viewer {number} received {counts} of {steps} steps, ended: {viewer.ended}")
        ages = 1000 * np.concatenate([viewer.ages(since) for viewer in self.viewers])
        points = sum(len(received) for viewer in self.viewers for received in viewer.steps().values())
        return {"points": points} | {f"p{share}": float(np.percentile(ages, share)) for share in (50, 95, 99)}

    async def leave(self) -> dict[str, Any]:
        """Close every stream. Raises RuntimeError if a client received a step twice or missed one."""
        for viewer in self.viewers:
            viewer.transport.abort()
        await asyncio.gather(*(viewer.closed for viewer in self.viewers))
        for viewer in self.viewers:
            for name, steps in viewer.steps().items():
                if name == "train/loss" and steps != list(range(steps[0], steps[0] + len(steps))):
                    raise RuntimeError("a client received a step twice or missed one")
        points = min(sum(map(len, viewer.steps().values())) for viewer in self.viewers)
        return {"points": points}


async def _serve(address: str) -> None:
    clients = Clients(address)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        message = json.loads(line)
        answer = await getattr(clients, message.pop("do"))(**message)
        print(json.dumps(answer), flush=True)


class EventClients:
    """The process, as seen by the benchmark."""

    def __init__(self, address: str) -> None:
        command = [sys.executable, "-m", "bench.event_clients", address]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.process = psutil.Process(self._process.pid)

    def __enter__(self) -> EventClients:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def request(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Call a method of `Clients`. Raises RuntimeError if the process exits instead."""
        self.send(do, **arguments)
        return self.receive()

    def send(self, do: str, **arguments: Any) -> None:
        """Call a method without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to `send`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the client process exited with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
