"""Lost signals between processes cause only a log message."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.contract import broker
from app.services import pubsub
from tests.conftest import until


@pytest.fixture
def nobody(tmp_path: Path) -> Redis:
    """A client of a Redis that does not exist."""
    return Redis.from_url(f"unix://{tmp_path}/none")


def heard(redis: Any, channel: str, act: Callable[[], Any]) -> Any:
    with redis.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(channel)
        until(lambda: redis.pubsub_numsub(channel)[0][1], what="subscribed")
        act()
        return json.loads(until(lambda: subscription.get_message(timeout=0.1))["data"])


def test_a_commit_says_what_changed_in_which_run(redis: Redis) -> None:
    said = heard(redis, broker.COMMITS, lambda: pubsub.announce(redis, 7, "r_1", "status"))
    assert said == {"commit": 7, "runs": {"r_1": ["status"]}, "workers": False}


def test_a_commit_that_changed_nothing_is_not_announced(redis: Redis) -> None:
    def act() -> None:
        pubsub.publish_commit(redis, 1, {})
        pubsub.publish_commit(redis, 2, {}, True)

    assert heard(redis, broker.COMMITS, act) == {"commit": 2, "runs": {}, "workers": True}


def test_a_worker_is_nudged_to_stop_a_run(redis: Redis) -> None:
    assert heard(redis, broker.CONTROL, lambda: pubsub.nudge_cancel(redis, "r_1")) == {"cancel": "r_1"}


def test_workers_are_woken_until_enough_wake_ups_lie_unread(redis: Redis, redis_server: str) -> None:
    celery = broker.celery_client(redis_server)
    for wanted, expected in ((2, 2), (2, 2), (1, 2), (3, 3)):
        pubsub.wake_workers(redis, celery, wanted)
        assert redis.llen(broker.QUEUE) == expected
    celery.close()


def test_a_redis_that_is_away_stops_nobody(nobody: Redis, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    celery = broker.celery_client(f"unix://{tmp_path}/none")
    with caplog.at_level(logging.WARNING):
        pubsub.announce(nobody, 1, "r_1", "status")
        pubsub.nudge_cancel(nobody, "r_1")
        pubsub.wake_workers(nobody, celery, 1)
    assert len(caplog.records) == 3
    celery.close()
