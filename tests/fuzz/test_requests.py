"""A small part of what `python -m tests.fuzz` sends, the same every time."""

from __future__ import annotations

import time

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.fuzz.rounds import Round

REQUESTS = 1500


def test_requests_that_nobody_means_break_nothing(server: FastAPI, client: TestClient) -> None:
    t = time.time()
    round = Round(server, client, 7, 0, [])
    print("fill", time.time() - t, sum(len(r.seeds) for r in round.known), len(round.known))
    t = time.time()
    result = round.run(REQUESTS)
    print("run", time.time() - t, result.statuses, len(result.routes), len(result.answered), result.senders)
    for s in result.slowest:
        print(s)
    assert result.requests == REQUESTS
    print(len(result.faults))
    for f in result.faults[:25]:
        print(str(f)[:200], "\n   ", [b[-300:] for b in f.broken])
    assert not result.faults
