"""When a Redis that a yard starts has started."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import BusyLoadingError, ConnectionError, ResponseError

from tests.chaos.yard import has_started


class Answering:
    """Stands for a client whose Redis answers like this."""

    def __init__(self, answer: Exception | None) -> None:
        self._answer = answer

    def ping(self) -> bool:
        if self._answer is not None:
            raise self._answer
        return True


@pytest.mark.parametrize(
    ("answer", "started"),
    [
        (None, True),
        (ConnectionError("Error 2 connecting to r.sock. No such file or directory."), False),
        (BusyLoadingError("Redis is loading the dataset in memory"), False),
        (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), True),
        (ResponseError("NOAUTH Authentication required."), False),
    ],
)
def test_a_redis_that_refuses_since_its_disk_is_full_has_started(answer: Exception | None, started: bool) -> None:
    client: Any = Answering(answer)
    assert has_started(client) == started
