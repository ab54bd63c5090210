"""A server process with its own Redis and an existing database."""

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


class ServerProcess:
    """Creates a migrated database at once; serves it from entry to exit, then removes its folder.

    ``database_url``: if unset, SQLite.
    """

    def __init__(self, database_url: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        redis_url = f"unix://{self.folder}/redis.sock"
        self.settings = Settings(data_dir=self.folder, redis_url=redis_url, database_url=database_url)
        self.engine = open_database(self.settings.database)
        migrate(self.engine)

    def __enter__(self) -> Self:
        (self.folder / "redis").mkdir()
        command = redis_command(find_redis(), self.folder / "redis", self.folder / "redis.sock")
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Redis.from_url(self.settings.redis) as client:
            _wait(lambda: _responds(client), "Redis")
        self.port = port = free_port("127.0.0.1", 0)
        command = [sys.executable, "-m", "app.cli", "server", "--port", str(port), "--data-dir", str(self.folder)]
        environment = os.environ | {"RUNYARD_REDIS_URL": self.settings.redis}
        if self.settings.database_url is not None:
            environment["RUNYARD_DATABASE_URL"] = self.settings.database_url
        self._server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        _wait(self._is_listening, "the server")
        # The server is idle only after the inspector process has inspected all networks.
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
        """Body of a response, over a persistent connection. Raises RuntimeError if its status is not 200."""
        try:
            answer = self._request(path)
        except http.client.RemoteDisconnected:
            # The server closes connections that were idle for five seconds.
            self._client.close()
            answer = self._request(path)
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}: {body[:500]!r}")
        return body

    def _request(self, path: str) -> http.client.HTTPResponse:
        self._client.request("GET", path)
        return self._client.getresponse()

    def cpu_seconds(self) -> float:
        """CPU time of the server so far, from Linux' clock_getcpuclockid, with microsecond resolution."""
        return time.clock_gettime((~self._server.pid << 3) | 2)

    def _is_listening(self) -> bool:
        try:
            self.get("/healthz")
        except OSError:
            self._client.close()
            return False
        return True


def _responds(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def _wait(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} does not respond")
        time.sleep(0.01)
