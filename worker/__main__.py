"""Run the worker process (``python -m worker``); its fork server imports nothing from this file."""

from __future__ import annotations

import sys

from redis import Redis
from redis.exceptions import RedisError

from app.contract.process import end_with_parent, log_to_stderr
from app.contract.settings import Settings
from app.contract.start_faults import explain, redis_refusal, redis_silent
from worker.job import DeviceError
from worker.tasks import run_worker


def main() -> int:
    """Run a worker with the settings from the environment."""
    settings = Settings()
    log_to_stderr(settings.log_format)
    end_with_parent()
    try:
        if not check_redis(settings):
            return 1
        run_worker(settings)
    except DeviceError as error:
        return _refuse(str(error))
    except Exception as error:  # what `explain` does not know is raised again
        sentence = explain(error, settings)
        if sentence is None:
            raise
        return _refuse(sentence)
    return 0


def check_redis(settings: Settings) -> bool:
    """Whether Redis can be used, or may be later: one that does not respond yet is awaited."""
    client = Redis.from_url(settings.redis, socket_timeout=10, socket_connect_timeout=2)
    try:
        client.ping()
    except (RedisError, OSError) as error:
        if refusal := redis_refusal(error, settings):
            _refuse(refusal)
            return False
        print(f"runyard: {redis_silent(settings)}; waiting", file=sys.stderr)
    finally:
        client.close()
    return True


def _refuse(sentence: str) -> int:
    print(f"runyard: {sentence}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
