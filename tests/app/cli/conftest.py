"""A server on a real port, as the command line meets it, and the command line itself."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from app.cli import cli
from tests.conftest import until

Said = Callable[..., Result]


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of what whoever runs the tests has set for a Runyard of their own."""
    for name in [name for name in os.environ if name.startswith("RUNYARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def url(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the test's server, which RUNYARD_URL names."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        running = uvicorn.Server(uvicorn.Config(server, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            until(lambda: running.started, what="the server has started")
            monkeypatch.setenv("RUNYARD_URL", address)
            yield address
        finally:
            running.should_exit = True
            thread.join(10)


@pytest.fixture
def runyard(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a command in this process."""
    # What a test process has for a terminal is 80 columns wide and cuts words.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words)

    return run
