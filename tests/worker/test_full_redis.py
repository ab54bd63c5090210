"""A Redis that refuses writes because its disk is full (MISCONF): on a small file system, which only root can mount."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from app.contract import broker
from app.contract.disk_space import is_disk_full
from app.contract.events import Claim, Grant
from tests.worker.conftest import RedisServer, until
from tests.worker.test_tasks import claimed, said


@pytest.fixture
def small_server() -> Iterator[RedisServer]:
    """A Redis on a disk of 4 MiB."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ry") as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False)
        if mounted.returncode:
            pytest.skip("cannot mount a small disk: run this test as root")
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(file: Path) -> None:
    """Take all room on the disk of a file."""
    with open(file, "wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(2**16)):
            pass


def refuses(redis: Redis) -> bool:
    """Whether Redis refuses to write since its disk is full; what it took before that fills the last bytes."""
    try:
        redis.set("more", b"0" * 4096)
    except RedisError as error:
        return is_disk_full(error)
    return False


def takes(redis: Redis) -> bool:
    """Whether Redis writes again."""
    try:
        redis.delete("more")
    except RedisError:
        return False
    return True


def test_a_worker_outlives_a_redis_whose_disk_is_full_and_claims_again_when_there_is_room(
    small_server: RedisServer, tmp_path: Path
) -> None:
    environment = os.environ | {
        "RUNYARD_DATA_DIR": str(tmp_path / "data"),
        "RUNYARD_REDIS_URL": small_server.url,
        "RUNYARD_DEVICE": "cpu",
        "RUNYARD_SLOTS": "1",
        "RUNYARD_HEARTBEAT_SECONDS": "0.2",
    }
    filler, log = small_server.folder / "filler", tmp_path / "worker.log"
    client = broker.celery_client(small_server.url)
    with small_server.client() as redis, open(log, "wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stderr=output)
        try:
            until(lambda: len(said(redis, "heartbeat")) > 1, "it beats", 60.0)
            fill(filler)
            until(lambda: refuses(redis), "Redis refuses writes")
            # Celery has asked for a wake-up, was refused, and has tried to connect again.
            until(lambda: process.poll() is not None or "Trying again in" in log.read_text(), "Celery is refused")
            assert process.poll() is None, log.read_text()

            filler.unlink()
            until(lambda: takes(redis), "Redis writes again")
            beats = len(said(redis, "heartbeat"))
            until(lambda: len(said(redis, "heartbeat")) > beats, "it beats again")
            client.send_task(broker.WAKE, queue=broker.QUEUE)
            until(lambda: claimed(redis, 1), "it asks for work", 60.0)
            claim = Claim.model_validate_json(said(redis, "claim")[0])
            redis.rpush(claim.reply, Grant().model_dump_json())
            process.terminate()
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
            client.close()
