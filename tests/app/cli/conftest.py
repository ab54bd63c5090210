"""Fixtures for tests of the command line: a server on a real port, and a function that runs a command."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from fastapi import FastAPI
from typer.main import get_command
from typer.testing import CliRunner, Result

from app.cli import cli
from runyard import Runyard
from tests.served import serving

Command = Callable[..., Result]

_command = cache(get_command)


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all RUNYARD_ variables of the environment."""
    for name in [name for name in os.environ if name.startswith("RUNYARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def url(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of the test's server, also set as RUNYARD_URL."""
    with serving(server) as address:
        monkeypatch.setenv("RUNYARD_URL", address)
        yield address


@pytest.fixture
def yard(url: str) -> Iterator[Runyard]:
    """A client of the test's server."""
    with Runyard(url) as client:
        yield client


Interceptor = Callable[[Any, Callable[[], Any]], Any]


@pytest.fixture
def intercept(monkeypatch: pytest.MonkeyPatch) -> Callable[[Interceptor], None]:
    """Install a function between program and server; it gets each request and a function that sends it."""
    real = Runyard._send

    def install(interceptor: Interceptor) -> None:
        monkeypatch.setattr(Runyard, "_send", lambda self, call: interceptor(call, lambda: real(self, call)))

    return install


@pytest.fixture
def runyard(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process."""
    # The default width of 80 columns would wrap lines.
    monkeypatch.setenv("COLUMNS", "200")

    # Typer builds all commands again at each call, which takes longer than most of them.
    monkeypatch.setattr("typer.testing._get_command", _command)

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, words)

    return run
