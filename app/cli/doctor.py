"""`runyard doctor`: checks the requirements of Runyard on this machine and suggests fixes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict
from itertools import chain
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from app.cli.client import Url, connected
from app.cli.output import AsJson, print_json
from app.cli.settings import read_settings
from app.contract.settings import Settings
from app.services.machine_checks import (
    Check,
    Finding,
    browser_code,
    data_folder,
    database,
    models,
    packages,
    python,
    redis,
    torch,
)

# A server on a busy machine can take seconds to respond.
ANSWER_SECONDS = 20.0


def doctor(
    server: Annotated[
        bool, typer.Option("--server", help="Check the running server instead; needs an administrator.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Check this machine for everything that Runyard needs; exit status 1 if something is missing."""
    if server:
        _check_server(as_json, url)
    settings = read_settings()
    findings = []
    for finding in chain(chain.from_iterable(check(settings) for check in CHECKS), named_server(url)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    failed = [finding for finding in findings if finding.state == "fail"]
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    raise typer.Exit(1 if failed else 0)


def _check_server(as_json: bool, url: str | None) -> NoReturn:
    with connected(url) as yard:
        system = yard.ask("GET", "/system")
        if as_json:
            print_json(system)
        else:
            for check in system["checks"]:
                _print(Finding(**check))
            print(", ".join(f"{name} {version}" for name, version in system["versions"].items()))
            for worker in system["workers"]:
                versions = ", ".join(f"{name} {version}" for name, version in worker["versions"].items())
                print(f"worker {worker['id']}: {versions}")
    raise typer.Exit(0 if system["ok"] else 1)


def _print(finding: Finding) -> None:
    from rich.console import Console
    from rich.text import Text

    color = {"ok": "green", "warn": "yellow", "fail": "red"}[finding.state]
    line = Text.assemble((f"{finding.state:4}", color), f"  {finding.what}: {finding.said}")
    if finding.advice:
        line.append(f"\n      → {finding.advice}")
    Console(highlight=False, soft_wrap=True).print(line)


def port(settings: Settings) -> Iterator[Finding]:
    """Check that the port is free or used by Runyard."""
    if settings.port == 0:
        yield Finding("Port", "ok", "any free port")
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            # As the server does: a port with connections in TIME_WAIT counts as free.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((settings.host, settings.port))
        yield Finding("Port", "ok", f"{settings.host}:{settings.port} is free")
    except OSError as error:
        if _is_runyard(settings):
            yield Finding("Port", "ok", f"Runyard is running at {settings.host}:{settings.port}")
            return
        advice = "stop the program that is using it, or choose another port, e.g. runyard up --port 9000"
        yield Finding("Port", "fail", f"{settings.host}:{settings.port} cannot be used ({error.strerror})", advice)


def named_server(url: str | None) -> Iterator[Finding]:
    """Check that a server answers at the address that RUNYARD_URL or --url names, if there is one."""
    if not url:
        return
    if _answers(url.rstrip("/")):
        yield Finding("Server", "ok", f"Runyard answers at {url}")
        return
    advice = "start one with `runyard up`, or set RUNYARD_URL to the address that it prints"
    yield Finding("Server", "warn", f"no Runyard answers at {url}", advice)


def _is_runyard(settings: Settings) -> bool:
    from app.cli.client import server_address

    return _answers(server_address(settings))


def _answers(address: str) -> bool:
    import httpx

    try:
        # As for commands: no proxy stands between this machine and itself.
        remote = urlsplit(address).hostname not in ("localhost", "127.0.0.1", "::1")
        health = httpx.get(f"{address}/healthz", timeout=ANSWER_SECONDS, trust_env=remote).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return isinstance(health, dict) and {"database", "redis"} <= set(health)


CHECKS: tuple[Check, ...] = (python, packages, torch, redis, data_folder, database, port, browser_code, models)
