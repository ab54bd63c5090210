"""Sends many malformed and random requests: ``python -m tests.fuzz --seed 7 --requests 100000``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from redis import Redis
from starlette.testclient import TestClient

from app.contract.datasets import DATASETS
from app.contract.settings import Settings
from app.main import build_app, open_parts
from app.services.inspector import Inspector
from tests.conftest import ADDRESS, SharedInspector, run_apart, running_redis
from tests.fuzz.rounds import ROUND, Result, Round
from tests.fuzz.seeds import RouteSeeds
from tests.served import serving

PORT_SHARE = 0.02
"""Share of the requests that go through the port of a real server."""


def main() -> int:
    """Send the requests; the exit status is 1 if any broke an invariant."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="seed of the requests")
    parser.add_argument("--requests", type=int, default=100_000, help="number of requests")
    parser.add_argument("--first", type=int, default=0, help="first round, to repeat one")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    given = parser.parse_args()
    logging.getLogger("runyard").setLevel(logging.ERROR)
    result = Result()
    began = time.time()
    with everything() as (folder, redis, inspector):
        known: list[RouteSeeds] = []
        server = build_app()
        by_port = max(1, round(given.requests * PORT_SHARE))
        plan = [min(ROUND, given.requests - by_port - done) for done in range(0, given.requests - by_port, ROUND)]
        for number, count in enumerate([*plan, by_port]):
            if number < given.first:
                continue
            last = number == len(plan)
            done = _round(server, folder / str(number), (redis, inspector), last, (given.seed, number, count), known)
            result.add(done)
            for fault in done.faults:
                print(fault, flush=True)
            print(f"{result.requests:,} requests, {len(result.faults)} faults, {time.time() - began:.0f} s", flush=True)
    summary = summary_of(result, given.seed, time.time() - began)
    print(json.dumps(summary, indent=2))
    print("unavailable:", *result.unavailable[:50], sep="\n  ")
    print("slowest:", *(f"{seconds:.2f} s {sent}" for seconds, sent in result.slowest), sep="\n  ")
    if given.output:
        given.output.write_text(json.dumps(summary, indent=2) + "\n")
    return 1 if result.faults else 0


@contextmanager
def everything() -> Iterator[tuple[Path, str, SharedInspector]]:
    """A folder, a Redis and an inspector for all rounds."""
    with tempfile.TemporaryDirectory(prefix="runyard-fuzz-") as folder, running_redis() as redis:
        rounds, apart = Path(folder) / "rounds", Path(folder) / "inspector"
        rounds.mkdir()
        apart.mkdir()
        inspector = SharedInspector(apart)
        run_apart(Inspector.start(inspector))
        yield rounds, redis, inspector
        run_apart(inspector.end())


def _round(
    server: FastAPI,
    folder: Path,
    shared: tuple[str, SharedInspector],
    by_port: bool,
    round_: tuple[int, int, int],
    known: list[RouteSeeds],
) -> Result:
    """Send the requests of a round (its seed, number and count) to a server of its own."""
    redis, inspector = shared
    client = Redis.from_url(redis)
    client.flushall()
    client.close()
    folder.mkdir()
    parts = server.state.parts = open_parts(Settings(data_dir=folder / "data", redis_url=redis), inspector)
    seed, number, count = round_
    outside = sorted(folder.parent.iterdir())
    try:
        with _client(server, by_port) as sender:
            result = Round(server, sender, seed, number, known).run(count)
    finally:
        parts.celery.close()
        DATASETS.close()
    assert [*folder.iterdir()] == [folder / "data"], "a file was written outside of the data folder"
    assert sorted(folder.parent.iterdir()) == outside, "a file was written outside of the folder of the round"
    return result


@contextmanager
def _client(server: FastAPI, by_port: bool) -> Iterator[httpx2.Client]:
    if by_port:
        with serving(server) as address, httpx2.Client(base_url=address, timeout=60) as client:
            yield client
    else:
        with TestClient(server, base_url=ADDRESS, raise_server_exceptions=False) as client:
            yield client


def summary_of(result: Result, seed: int, seconds: float) -> dict[str, Any]:
    """What came of all requests."""
    return {
        "seed": seed,
        "requests": result.requests,
        "seconds": round(seconds),
        "faults": len(result.faults),
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "senders": dict(sorted(result.senders.items())),
        "routes": len(result.routes - {"none"}),
        "routes_that_succeeded": len(result.answered - {"none"}),
        "slowest_seconds": [round(seconds, 2) for seconds, _ in result.slowest],
    }


if __name__ == "__main__":
    sys.exit(main())
