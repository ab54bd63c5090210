"""Redis keys and the Celery client shared by server, recorder and worker."""

from __future__ import annotations

from celery import Celery

EVENTS = "runyard:events"
GROUP = "recorder"
UNREADABLE = "runyard:dead"
COMMITTED = "runyard:committed"
COMMITS = "runyard:commits"
CONTROL = "runyard:control"
QUEUE = "runyard"
WAKE = "runyard.wake"
REPLY_SECONDS = 15
DISK_FULL = "runyard:disk-full"
"""Key that exists while the recorder can commit nothing because its disk is full."""
DISK_FULL_SECONDS = 10


def renewal_key(worker: str) -> str:
    """Redis key of the recorder's reply to a worker's heartbeat."""
    return f"runyard:renewal:{worker}"


def committed_field(run: str, fence: int) -> str:
    """Field of the hash ``COMMITTED`` with the last sequence number committed for this attempt."""
    return f"{run}:{fence}"


def celery_address(redis_url: str) -> str:
    """Convert a Redis URL to Celery's notation."""
    if redis_url.startswith("unix://"):
        return "redis+socket://" + redis_url.removeprefix("unix://")
    # Without this, Celery would accept any certificate; redis-py verifies it by default.
    if redis_url.startswith("rediss://") and "ssl_cert_reqs=" not in redis_url:
        return f"{redis_url}{'&' if '?' in redis_url else '?'}ssl_cert_reqs=required"
    return redis_url


def celery_client(redis_url: str) -> Celery:
    """Create a Celery client with every setting whose default is unsafe; docs/decisions/0002 gives the reasons."""
    client = Celery("runyard", broker=celery_address(redis_url))
    client.conf.update(
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # What Redis answers while its disk is full; without this, a worker would end.
        broker_channel_error_retry=True,
        broker_transport_options={"socket_keepalive": True, "socket_connect_timeout": 2, "max_retries": 2},
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    return client
