"""Runs the worker as a Celery app, the only file that knows Celery: a wake-up lets a free slot claim work."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery.exceptions import SecurityWarning
from celery.signals import setup_logging, worker_ready, worker_shutting_down
from kombu.transport import redis, virtual

from app.contract import broker
from app.contract.settings import Settings
from worker.supervisor import Supervisor

logger = logging.getLogger("runyard.worker")


class SteadyQoS(redis.QoS):
    """Counts a message as acknowledged even if Redis does not take that.

    Kombu would count it as in hand for ever, and after as many of them as there are slots never ask Redis for a message
    again. Redis delivers such a message once more, later: a wake-up too many does no harm.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message. Raises what Redis raised."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
        except Exception:  # whatever Redis or the connection raised
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message. Raises what Redis raised."""
        try:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
        except Exception:
            virtual.QoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]
            raise


redis.Channel.QoS = SteadyQoS


def run_worker(settings: Settings) -> None:
    """Work until a signal ends it; active runs return to the queue with a checkpoint."""
    # The advice not to run as root is about pickled messages, and only JSON is accepted here.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    supervisor = Supervisor(settings)
    client = broker.celery_client(settings.redis)
    client.task(name=broker.WAKE)(supervisor.work)

    def ready(**_: Any) -> None:
        slots = f"{settings.slots} slot{'' if settings.slots == 1 else 's'}"
        logger.info("worker %s is ready: %s, %s", supervisor.id, supervisor.device.name, slots)

    def stopping(**_: Any) -> None:
        logger.info("worker %s is stopping", supervisor.id)
        supervisor.stop()

    # Celery would set the level of the root logger, and so silence ours; a receiver of this signal configures logging
    # itself.
    setup_logging.connect(lambda **_: None, weak=False)
    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(stopping, weak=False)
    supervisor.start()
    worker = client.Worker(
        pool="threads",
        concurrency=settings.slots,
        queues=[broker.QUEUE],
        hostname=supervisor.id,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    try:
        worker.start()
    finally:
        supervisor.stop()
        supervisor.leave()
