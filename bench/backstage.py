"""What a trainer reports to: a Redis and a recorder, each a process of its own, on a database in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from app.contract.events import DeviceInfo
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from app.services.embedded import find_redis, redis_command
from app.store import lease, run
from app.store.database import migrate, next_commit, open_database, writing

FOREVER = 1e9


class Backstage:
    """Started on entering, stopped on leaving; ``settings`` say where it is."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        self.settings = Settings(data_dir=self.folder, redis_url=f"unix://{self.folder}/redis.sock")
        self.engine = open_database(self.settings.database)
        migrate(self.engine)
        (self.folder / "redis").mkdir()
        command = redis_command(find_redis(), self.folder / "redis", self.folder / "redis.sock")
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.redis = Redis.from_url(self.settings.redis)
        until = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > until:
                raise RuntimeError("Redis does not answer")
        environment = {**os.environ, "RUNYARD_REDIS_URL": self.settings.redis, "RUNYARD_DATA_DIR": str(self.folder)}
        words = [sys.executable, "-m", "app.cli", "recorder"]
        self.recorder = subprocess.Popen(words, env=environment)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in (self.recorder, self._redis):
            process.terminate()
            process.wait(20)
        self.engine.dispose()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except (RedisError, OSError):
            return False

    def hold(self, config: RunConfig, worker: str = "bench") -> tuple[str, int]:
        """A run that a worker holds, whose lease nobody needs to renew: its id and its fence."""
        device = DeviceInfo(kind="cpu", name="cpu", memory_bytes=0, cores=1)
        with writing(self.engine) as connection:
            wanted = run.insert_run(connection, config, {}, None, time.time())
            until = time.time() + FOREVER
            granted = lease.claim_next(connection, wanted, worker, 0, device, next_commit(connection), until)
        assert granted is not None
        if granted.run != wanted:
            raise RuntimeError("another run was in the queue")
        return granted.run, granted.fence
