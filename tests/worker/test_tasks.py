from __future__ import annotations

import os
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from app.contract import broker
from app.contract.events import Claim, Goodbye, Grant, Heartbeat
from tests.worker.conftest import RedisServer, until
from worker.tasks import SteadyQoS


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_acks_late", False),
        ("worker_prefetch_multiplier", 1),
        ("worker_cancel_long_running_tasks_on_connection_loss", False),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("result_backend", None),
        ("task_ignore_result", True),
        ("task_default_queue", broker.QUEUE),
        ("broker_connection_retry_on_startup", True),
        ("broker_connection_max_retries", None),
        ("broker_channel_error_retry", True),
        ("worker_enable_remote_control", False),
        ("worker_send_task_events", False),
        ("worker_hijack_root_logger", False),
    ],
)
def test_the_settings_of_celery_that_must_not_be_left_to_its_defaults(setting: str, value: Any) -> None:
    client = broker.celery_client("unix:///tmp/redis.sock")
    assert client.conf[setting] == value


def test_celery_is_given_the_same_redis_in_its_own_spelling() -> None:
    assert broker.celery_address("unix:///tmp/a/redis.sock") == "redis+socket:///tmp/a/redis.sock"
    assert broker.celery_address("redis://localhost:6379/0") == "redis://localhost:6379/0"


def test_celery_verifies_the_certificate_of_redis_unless_it_is_told_otherwise() -> None:
    """Celery's own default with TLS is to accept any certificate."""
    address = broker.celery_address("rediss://user:word@example:6380/1")
    assert address == "rediss://user:word@example:6380/1?ssl_cert_reqs=required"
    address = broker.celery_address("rediss://example/1?ssl_ca_certs=/ca.pem")
    assert address == "rediss://example/1?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"
    lax = "rediss://example/1?ssl_cert_reqs=none"
    assert broker.celery_address(lax) == lax
    with broker.celery_client("rediss://example/1").connection_for_write() as connection:
        assert connection.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}


def said(redis: Redis, kind: str) -> list[bytes]:
    entries: Any = redis.xrange(broker.EVENTS)
    return [fields[b"b"] for _, fields in entries if fields[b"k"].decode() == kind]


def claimed(redis: Redis, times: int) -> bool:
    return len(said(redis, "claim")) == times


@pytest.mark.parametrize("ending", ["ack", "reject", "requeue"])
def test_a_message_that_redis_refuses_to_forget_does_not_keep_the_next_one_away(
    server: RedisServer, redis: Redis, ending: str
) -> None:
    client = broker.celery_client(server.url)
    for _ in range(2):
        client.send_task(broker.WAKE, queue=broker.QUEUE)
    with client.connection_for_read() as connection, connection.channel() as channel:
        channel.basic_qos(0, 1, False)
        assert channel.QoS is SteadyQoS
        queue = client.amqp.queues.select_add(broker.QUEUE)(channel)
        message = queue.get()
        assert not channel.qos.can_consume()
        # What Redis answers then is the same kind of error as with a full disk, which only root can provide.
        redis.config_set("min-replicas-to-write", 1)
        with pytest.raises(RedisError, match="replica"):
            getattr(message, ending)()
        redis.config_set("min-replicas-to-write", 0)
        assert channel.qos.can_consume()
        queue.get().ack()
        assert channel.qos.can_consume()
    client.close()


def test_a_worker_beats_asks_for_work_when_it_is_woken_and_says_goodbye(
    server: RedisServer, redis: Redis, tmp_path: Path
) -> None:
    environment = os.environ | {
        "RUNYARD_DATA_DIR": str(tmp_path),
        "RUNYARD_REDIS_URL": server.url,
        "RUNYARD_DEVICE": "cpu",
        "RUNYARD_SLOTS": "2",
        "RUNYARD_HEARTBEAT_SECONDS": "0.2",
    }
    client = broker.celery_client(server.url)
    with subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: len(said(redis, "heartbeat")) > 1, "it beats", 60.0)
            beat = Heartbeat.model_validate_json(said(redis, "heartbeat")[0])
            assert (beat.pid, beat.slots, beat.runs) == (process.pid, 2, [])
            assert said(redis, "claim") == []
            for n in (1, 2):
                client.send_task(broker.WAKE, queue=broker.QUEUE)
                until(partial(claimed, redis, n), "it asks for work", 20.0)
            claims = [Claim.model_validate_json(each) for each in said(redis, "claim")]
            assert {claim.worker for claim in claims} == {beat.worker}
            assert {claim.slot for claim in claims} == {0, 1}
            client.send_task(broker.WAKE, queue=broker.QUEUE)
            for claim in claims:
                redis.rpush(claim.reply, Grant().model_dump_json())
            until(lambda: not redis.llen(broker.QUEUE), "the third wake-up is taken")
            process.terminate()
            assert process.wait(30) == 0
            assert process.stderr is not None
            words = process.stderr.read().decode()
        finally:
            # Else a failure above would wait for it for ever.
            process.kill()
    assert [Goodbye.model_validate_json(each).worker for each in said(redis, "goodbye")] == [beat.worker]
    assert "is ready: cpu, 2 slots" in words
    assert "Traceback" not in words
    client.close()
