"""What the processes tell each other beside the event stream: commits to servers, wake-ups and nudges to workers.

All of these may be lost: the database is the truth, and whoever waits for a notice also looks by itself now and then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis import Redis
from redis.exceptions import RedisError

from app.contract import broker
from app.contract.events import PendingChanges

logger = logging.getLogger("runyard.notices")


def publish_commit(redis: Any, commit: int, changed: Mapping[str, set[str]], workers_changed: bool = False) -> None:
    """Queue a commit notice on a client or pipeline: which runs changed, and in what."""
    if changed or workers_changed:
        runs = {run_id: sorted(what) for run_id, what in changed.items()}
        redis.publish(broker.COMMITS, json.dumps({"commit": commit, "runs": runs, "workers": workers_changed}))


def announce(redis: Redis, commit: int, run_id: str, what: str) -> None:
    """Tell every server that a run changed in this commit."""
    tell(redis, commit, {run_id: {what}})


def tell(redis: Redis, commit: int, changed: Mapping[str, set[str]]) -> None:
    """Tell every server which runs changed in this commit, and in what."""
    try:
        publish_commit(redis, commit, changed)
    except (RedisError, OSError) as error:
        logger.warning("servers were not told of commit %d (%s); they will see it by themselves", commit, error)


def nudge_cancel(redis: Redis, run_id: str) -> None:
    """Ask the worker that holds a run to look at it now; it would hear of the stop with its next heartbeat anyway."""
    try:
        redis.publish(broker.CONTROL, json.dumps({"cancel": run_id}))
    except (RedisError, OSError) as error:
        logger.warning("the worker of %s was not nudged (%s); its next heartbeat will tell it", run_id, error)


def nudge_changes(redis: Redis, asked: PendingChanges) -> None:
    """Tell the worker that holds a run what is to be changed of it; its next heartbeat would tell it anyway."""
    try:
        redis.publish(broker.CONTROL, json.dumps({"asked": asked.model_dump()}))
    except (RedisError, OSError) as error:
        logger.warning("the worker of %s was not nudged (%s); its next heartbeat will tell it", asked.run, error)


def wake_workers(redis: Redis, celery: Celery, wanted: int) -> None:
    """Send wake-ups until as many lie unread as claims could be granted."""
    try:
        unread: Any = redis.llen(broker.QUEUE)
        for _ in range(wanted - int(unread)):
            celery.send_task(broker.WAKE, queue=broker.QUEUE, retry=False)
    except (RedisError, BrokerError, OSError) as error:
        logger.warning("workers were not woken (%s); the recorder will do it", error)
