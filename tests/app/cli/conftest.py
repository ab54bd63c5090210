"""A server on a real port, as the command line meets it, and the command line itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from app.cli import cli
from runyard import Runyard
from tests.served import serving

Said = Callable[..., Result]


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of what whoever runs the tests has set for a Runyard of their own."""
    for name in [name for name in os.environ if name.startswith("RUNYARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def url(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of the test's server, which RUNYARD_URL names."""
    with serving(server) as address:
        monkeypatch.setenv("RUNYARD_URL", address)
        yield address


@pytest.fixture
def yard(url: str) -> Iterator[Runyard]:
    """The client of the test's server."""
    with Runyard(url) as client:
        yield client


Sent = Callable[[Any, Callable[[], Any]], Any]


@pytest.fixture
def intercept(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sent], None]:
    """Puts something between the program and the server: it is given each request, and what sends it."""
    real = Runyard._send

    def put(sent: Sent) -> None:
        monkeypatch.setattr(Runyard, "_send", lambda self, call: sent(call, lambda: real(self, call)))

    return put


@pytest.fixture
def runyard(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a command in this process."""
    # What a test process has for a terminal is 80 columns wide and cuts words.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words)

    return run
