"""Fixtures for tests of the Python client: a server on a real port, a client and a running trainer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest
from fastapi import FastAPI
from redis import Redis

import runyard
from app.services import pubsub
from app.services.recorder import Recorder
from runyard import Runyard
from tests.conftest import Runs
from tests.fake_worker import Trainer, Worker
from tests.served import serving


@pytest.fixture
def url(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of the test's server."""
    monkeypatch.setattr(runyard, "PAUSE_SECONDS", 0.01)
    with serving(server) as address:
        yield address


@pytest.fixture
def yard(url: str) -> Iterator[Runyard]:
    """A client of the test's server."""
    with Runyard(url) as client:
        yield client


@pytest.fixture
def trainer(url: str, recorder: Recorder, worker: Worker, yard: Runyard) -> Trainer:
    """A trainer that has started the only run."""
    yard.launch(family="vit", size="tiny")
    return worker.train(recorder)


def follow(items: Callable[[], Iterator[Any]]) -> tuple[Queue[Any], threading.Thread]:
    """Iterate in a thread; returns a queue of the items, and the thread."""
    received: Queue[Any] = Queue()

    def listen() -> None:
        for item in items():
            received.put(item)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return received, thread


def end(run: str, runs: Runs, redis: Redis, outcome: str = "succeeded") -> None:
    """End the run and announce it to all listeners."""
    runs.finish(run, outcome)
    pubsub.announce(redis, runs.commit(), run, "status")


def send(trainer: Trainer, recorder: Recorder, redis: Redis, **curves: list[tuple[int, float]]) -> None:
    """Record points and announce them."""
    trainer.points(**curves)
    recorder.step()
