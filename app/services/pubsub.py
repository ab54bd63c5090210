"""Messages between processes besides the event stream: commits to servers, wake-ups and nudges to workers.

All of them may be lost: the database is the source of truth, and every receiver also checks it periodically.
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

logger = logging.getLogger("runyard.pubsub")


def publish_commit(redis: Any, commit: int, changed: Mapping[str, set[str]], workers_changed: bool = False) -> None:
    """Queue a commit notice on a client or pipeline: which runs changed, and which parts."""
    if changed or workers_changed:
        runs = {run_id: sorted(what) for run_id, what in changed.items()}
        redis.publish(broker.COMMITS, json.dumps({"commit": commit, "runs": runs, "workers": workers_changed}))


def announce(redis: Redis, commit: int, run_id: str, what: str) -> None:
    """Notify all servers that one run changed in this commit."""
    notify_servers(redis, commit, {run_id: {what}})


def notify_servers(redis: Redis, commit: int, changed: Mapping[str, set[str]]) -> None:
    """Notify all servers of the runs that changed in this commit, and which parts."""
    try:
        publish_commit(redis, commit, changed)
    except (RedisError, OSError) as error:
        logger.warning("could not notify servers of commit %d (%s); they will pick it up by polling", commit, error)


def nudge_cancel(redis: Redis, run_id: str) -> None:
    """Ask a run's worker to check it now; otherwise it would learn of the stop from its next heartbeat."""
    try:
        redis.publish(broker.CONTROL, json.dumps({"cancel": run_id}))
    except (RedisError, OSError) as error:
        logger.warning("could not notify the worker of %s (%s); it will find out at its next heartbeat", run_id, error)


def nudge_changes(redis: Redis, asked: PendingChanges) -> None:
    """Send a run's requested changes to its worker now, instead of with its next heartbeat."""
    try:
        redis.publish(broker.CONTROL, json.dumps({"asked": asked.model_dump()}))
    except (RedisError, OSError) as error:
        logger.warning(
            "could not notify the worker of %s (%s); it will find out at its next heartbeat", asked.run, error
        )


def wake_workers(redis: Redis, celery: Celery, wanted: int) -> None:
    """Send wake-ups until there is one unread for each claim that could be granted."""
    try:
        unread: Any = redis.llen(broker.QUEUE)
        for _ in range(wanted - int(unread)):
            celery.send_task(broker.WAKE, queue=broker.QUEUE, retry=False)
    except (RedisError, BrokerError, OSError) as error:
        logger.warning("could not wake workers (%s); the recorder will do it", error)


def tell_disk_full(redis: Redis) -> None:
    """Tell workers that the recorder lives, but can commit nothing for now."""
    try:
        redis.set(broker.DISK_FULL, "1", ex=broker.DISK_FULL_SECONDS)
    except (RedisError, OSError) as error:
        logger.warning("could not tell workers that the disk is full (%s)", error)
