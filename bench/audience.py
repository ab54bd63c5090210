"""Many who watch one run: a process of its own that reads as many event streams and says how old every point was.

``python -m bench.audience ADDRESS`` reads a JSON command a line and answers each with a line of JSON. It does as little
as a reader can: a socket each, and what came to several viewers alike is taken apart once.
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
class Told:
    """What one piece of a stream said: steps and times of each metric, and whether it was the last."""

    steps: dict[str, list[int]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)
    last: bool = False


class Reader:
    """Takes the frames of streams apart, those that are alike once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Told] = {}

    def read(self, frames: bytes) -> Told:
        """``frames``: whole server-sent events."""
        told = self._known.get(frames)
        if told is None:
            told = self._known[frames] = _parsed(frames)
            if len(self._known) > 2000:
                self._known.pop(next(iter(self._known)))
        return told


def _parsed(frames: bytes) -> Told:
    told = Told()
    for block in frames.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        match fields.get("event"):
            case "metrics":
                for name, curve in json.loads(fields["data"]).items():
                    told.steps.setdefault(name, []).extend(curve["step"])
                    told.times.setdefault(name, []).extend(curve["time"])
            case "end":
                told.last = True
            case "reset":
                raise RuntimeError("the curves had to be read anew: this viewer fell too far behind")
    return told


class Viewer(asyncio.Protocol):
    """One stream, read to its end or until it is left; every piece is kept with the second at which it came."""

    def __init__(self, reader: Reader, request: bytes) -> None:
        self.pieces: list[tuple[float, Told]] = []
        self.received_bytes = 0
        self.begun = asyncio.get_running_loop().create_future()
        self.over = asyncio.get_running_loop().create_future()
        self._reader = reader
        self._request = request
        self._rest = b""
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self.received_bytes += len(data)
        rest = self._rest + data if self._rest else data
        try:
            if not self._in_body:
                head, separator, rest = rest.partition(HEAD_END)
                if not separator:
                    self._rest = head
                    return
                if b" 200 " not in head.split(b"\r\n", 1)[0]:
                    raise RuntimeError(head.decode(errors="replace"))
                self._in_body = True
            self._rest = self._take(rest, now)
        except (RuntimeError, ValueError) as error:
            self.transport.abort()
            if not self.over.done():
                self.over.set_exception(error)

    def _take(self, rest: bytes, now: float) -> bytes:
        while (end := rest.find(b"\r\n")) >= 0:
            size = int(rest[:end], 16)
            if len(rest) < end + size + 4:
                break
            if not size:
                self.transport.close()
                return b""
            self.pieces.append((now, self._reader.read(rest[end + 2 : end + 2 + size])))
            if not self.begun.done():
                self.begun.set_result(None)
            rest = rest[end + size + 4 :]
        return rest

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)

    @property
    def ended(self) -> bool:
        """Whether the stream said that it has ended."""
        return any(told.last for _, told in self.pieces[-2:])

    def steps(self) -> dict[str, list[int]]:
        """Steps of each metric in the order in which they were told."""
        found: dict[str, list[int]] = {}
        for _, told in self.pieces:
            for name, steps in told.steps.items():
                found.setdefault(name, []).extend(steps)
        return found

    def ages(self, since: float) -> np.ndarray:
        """Seconds from the log call to here, of every point that was logged after ``since`` (seconds since 1970)."""
        pieces = [(at, np.array(times)) for at, told in self.pieces for times in told.times.values()]
        return np.concatenate([at - times[times >= since] for at, times in pieces])


class Crowd:
    """The viewers at one time."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.port = str(parts.hostname), int(parts.port or 80)
        self.viewers: list[Viewer] = []

    async def join(self, run: str, viewers: int, after: str) -> dict[str, Any]:
        """Open so many streams; each has been answered when this returns."""
        path = f"/api/v1/runs/{run}/events?after={after}"
        request = f"GET {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\naccept: text/event-stream\r\n\r\n".encode()
        reader = Reader()
        self.viewers = []
        loop = asyncio.get_running_loop()
        for _ in range(viewers):
            _, viewer = await loop.create_connection(lambda: Viewer(reader, request), self.host, self.port)
            self.viewers.append(viewer)
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            for viewer in self.viewers:
                await asyncio.wait({viewer.begun, viewer.over}, return_when=asyncio.FIRST_COMPLETED)
        return {"joined": viewers}

    async def until_end(self, steps: int, metrics: list[str], since: float) -> dict[str, Any]:
        """Once every stream has ended by itself: points told, and ages in ms of those logged after ``since``.

        Raises RuntimeError unless every viewer was told of each of ``steps`` steps of ``metrics`` once and in order.
        """
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await asyncio.gather(*(viewer.over for viewer in self.viewers))
        expected = {name: list(range(1, steps + 1)) for name in metrics}
        for number, viewer in enumerate(self.viewers):
            if not viewer.ended or viewer.steps() != expected:
                counts = {name: len(told) for name, told in viewer.steps().items()}
                raise RuntimeError(f"viewer {number} was told {counts} of {steps} steps, ended: {viewer.ended}")
        ages = 1000 * np.concatenate([viewer.ages(since) for viewer in self.viewers])
        told = sum(len(each) for viewer in self.viewers for each in viewer.steps().values())
        return {"told": told} | {f"p{share}": float(np.percentile(ages, share)) for share in (50, 95, 99)}

    async def leave(self) -> dict[str, Any]:
        """Close every stream. Raises RuntimeError where a viewer was told a step twice, or not at all."""
        for viewer in self.viewers:
            viewer.transport.abort()
        await asyncio.gather(*(viewer.over for viewer in self.viewers))
        for viewer in self.viewers:
            for name, steps in viewer.steps().items():
                if name == "train/loss" and steps != list(range(steps[0], steps[0] + len(steps))):
                    raise RuntimeError("a viewer was told a step twice, or not at all")
        points = min(sum(map(len, viewer.steps().values())) for viewer in self.viewers)
        return {"points": points}


async def _obey(address: str) -> None:
    crowd = Crowd(address)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        answer = await getattr(crowd, asked.pop("do"))(**asked)
        print(json.dumps(answer), flush=True)


class Audience:
    """The process, seen from the bench."""

    def __init__(self, address: str) -> None:
        words = [sys.executable, "-m", "bench.audience", address]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.process = psutil.Process(self._process.pid)

    def __enter__(self) -> Audience:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def ask(self, do: str, **said: Any) -> dict[str, Any]:
        """Answer of a method of Crowd. Raises RuntimeError when the process has ended instead."""
        self.tell(do, **said)
        return self.hear()

    def tell(self, do: str, **said: Any) -> None:
        """Ask, and hear the answer later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **said}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The answer to what was asked."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the viewers' process ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


if __name__ == "__main__":
    asyncio.run(_obey(sys.argv[1]))
