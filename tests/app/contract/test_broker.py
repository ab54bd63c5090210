"""Celery settings with unsafe defaults, and the shared Redis keys."""

from __future__ import annotations

from redis import Redis

from app.contract import broker


def test_a_wake_up_is_acknowledged_early_and_is_json_without_a_result() -> None:
    conf = broker.celery_client("redis://localhost:6379/0").conf
    assert conf.task_acks_late is False
    assert conf.worker_prefetch_multiplier == 1
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.result_backend is None
    assert conf.task_default_queue == broker.QUEUE


def test_celery_and_redis_mean_the_same_server() -> None:
    assert broker.celery_address("unix:///tmp/x/redis.sock") == "redis+socket:///tmp/x/redis.sock"
    assert broker.celery_address("redis://host:6379/2") == "redis://host:6379/2"


def test_a_wake_up_lies_in_the_list_whose_length_is_looked_at(redis: Redis, redis_server: str) -> None:
    celery = broker.celery_client(redis_server)
    celery.send_task(broker.WAKE, queue=broker.QUEUE)
    assert redis.llen(broker.QUEUE) == 1
    celery.close()


def test_attempts_and_workers_do_not_share_keys() -> None:
    assert broker.committed_field("r_1", 2) != broker.committed_field("r_1", 21)
    assert broker.renewal_key("a") != broker.renewal_key("b")
    assert len({broker.EVENTS, broker.UNREADABLE, broker.COMMITTED, broker.COMMITS, broker.CONTROL, broker.QUEUE}) == 6
