"""The receiving end of a trainer: Redis and a recorder as separate processes, with a temporary database."""

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

# Longer than any benchmark: the runs' leases are not renewed, and the recorder shortens those that are longer.
LEASE_SECONDS = 86_400.0


class Backend:
    """Starts on entry and stops on exit; ``settings`` has its addresses. ``database_url``: if unset, SQLite."""

    def __init__(self, database_url: str | None = None) -> None:
        self.database_url = database_url

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        redis_url = f"unix://{self.folder}/redis.sock"
        self.settings = Settings(data_dir=self.folder, redis_url=redis_url, database_url=self.database_url)
        self.engine = open_database(self.settings.database)
        migrate(self.engine)
        (self.folder / "redis").mkdir()
        command = redis_command(find_redis(), self.folder / "redis", self.folder / "redis.sock")
        self._redis = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.redis = Redis.from_url(self.settings.redis)
        deadline = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError("Redis does not respond")
        environment = {**os.environ, "RUNYARD_REDIS_URL": self.settings.redis, "RUNYARD_DATA_DIR": str(self.folder)}
        environment["RUNYARD_LEASE_SECONDS"] = str(LEASE_SECONDS)
        if self.database_url is not None:
            environment["RUNYARD_DATABASE_URL"] = self.database_url
        command = [sys.executable, "-m", "app.cli", "recorder"]
        self.recorder = subprocess.Popen(command, env=environment)
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

    def claim_run(self, config: RunConfig, worker: str = "bench") -> tuple[str, int]:
        """Insert a run and claim it with a lease that needs no renewal; return its id and fence."""
        device = DeviceInfo(kind="cpu", name="cpu", memory_bytes=0, cores=1)
        with writing(self.engine) as connection:
            run_id = run.insert_run(connection, config, {}, None, time.time())
            expires = time.time() + LEASE_SECONDS
            granted = lease.claim_next(connection, run_id, worker, 0, device, next_commit(connection), expires)
        assert granted is not None
        if granted.run != run_id:
            raise RuntimeError("the queue contains another run")
        return granted.run, granted.fence
