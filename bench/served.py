"""A server process, alone with a Redis of its own, on a database that is there already."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from app.contract.settings import Settings
from app.services.embedded import find_redis, free_port, redis_command
from app.store.database import migrate, open_database


class Served:
    """Has a migrated database from the start; serves it on entering, is gone on leaving, its folder with it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        self.settings = Settings(data_dir=self.folder, redis_url=f"unix://{self.folder}/redis.sock")
        self.engine = open_database(self.settings.database)
        migrate(self.engine)

    def __enter__(self) -> Self:
        (self.folder / "redis").mkdir()
        command = redis_command(find_redis(), self.folder / "redis", self.folder / "redis.sock")
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Redis.from_url(self.settings.redis) as client:
            _wait(lambda: _answers(client), "Redis")
        self.port = port = free_port("127.0.0.1", 0)
        words = [sys.executable, "-m", "app.cli", "server", "--port", str(port), "--data-dir", str(self.folder)]
        environment = os.environ | {"RUNYARD_REDIS_URL": self.settings.redis}
        self._server = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        _wait(self._listens, "the server")
        # Only after the inspector's process has looked at all networks is the server idle.
        self.get("/api/v1/architectures")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()
        for process in (self._server, self._redis):
            process.terminate()
            process.wait(20)
        self.engine.dispose()
        shutil.rmtree(self.folder, ignore_errors=True)

    def get(self, path: str) -> bytes:
        """The body of an answer, over a connection that stays open. Raises RuntimeError when its status is not 200."""
        try:
            answer = self._ask(path)
        except http.client.RemoteDisconnected:
            # The server closes what was silent for five seconds.
            self._client.close()
            answer = self._ask(path)
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}: {body[:500]!r}")
        return body

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._client.request("GET", path)
        return self._client.getresponse()

    def cpu_seconds(self) -> float:
        """CPU time of the server's process so far; as clock_getcpuclockid of Linux has it, to the microsecond."""
        return time.clock_gettime((~self._server.pid << 3) | 2)

    def _listens(self) -> bool:
        try:
            self.get("/healthz")
        except OSError:
            self._client.close()
            return False
        return True


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def _wait(ready: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not ready():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} does not answer")
        time.sleep(0.01)
