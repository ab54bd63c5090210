"""Connection of a command to the server, lookup of runs and sweeps by name, and error messages."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.settings import read_settings
from app.contract.settings import Settings
from app.contract.spec import SpecError

if TYPE_CHECKING:
    from runyard import Run, Runyard, Sweep

INTERRUPTED = 130
SERVER = "Server"

Url = Annotated[
    str | None,
    typer.Option(
        envvar="RUNYARD_URL",
        help="Server URL (default: http://RUNYARD_HOST:RUNYARD_PORT). RUNYARD_TOKEN is sent as a bearer token, else"
        " what `runyard login` stored.",
        rich_help_panel=SERVER,
    ),
]


class UsageError(ValueError):
    """Invalid arguments or settings; exit status 2."""


def server_address(settings: Settings) -> str:
    """Return the local URL of a server with these settings. Raises UsageError if the port is not known."""
    if settings.port == 0:
        raise UsageError("RUNYARD_PORT is 0, so the port is unknown; set RUNYARD_URL to the server's URL")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def connect(url: str | None) -> Runyard:
    """Create a client for ``url``, by default for the address in the settings."""
    # httpx takes 0.1 s to import; `runyard --help` must not wait for it.
    from runyard import Runyard, stored_token

    settings = read_settings()
    url = (url or server_address(settings)).rstrip("/")
    if stored_token(url) is not None:
        return Runyard(url)
    from app.cli.local_key import local_auth

    return Runyard(url, auth=local_auth(url, settings))


def warn(message: str) -> None:
    """Print a message to standard error."""
    print(f"runyard: {message}", file=sys.stderr)


@contextmanager
def connected(url: str | None, status: int = 1, interrupted: str = "interrupted") -> Iterator[Runyard]:
    """Connect to the server; print errors as one sentence each and exit with ``status``.

    Invalid arguments exit with 2, Ctrl-C with 130 and the message ``interrupted``.
    """
    from runyard import RunyardError

    try:
        with connect(url) as yard:
            yield yard
    except SpecError as error:
        for problem in error.errors:
            warn(problem.message)
        raise typer.Exit(2) from error
    except RunyardError as error:
        for message in [problem.message for problem in error.errors] or [error.detail]:
            warn(message)
        if error.status == 401:
            warn(
                "sign in with `runyard login`; on the server's own machine, the address must be a loopback one such as"
                " http://127.0.0.1:8000, and RUNYARD_DATA_DIR its data folder"
            )
        raise typer.Exit(status) from error
    except ValueError as error:
        warn(str(error))
        raise typer.Exit(2) from error
    except BrokenPipeError:
        # The reader has closed the pipe (`runyard ls | head`); typer exits quietly.
        raise
    except OSError as error:
        warn(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        warn(interrupted)
        raise typer.Exit(INTERRUPTED) from error


# Lookup by name ------------------------------------------------------------------------------------------------------


# What has more digits than this is no number of anything.
LONGEST_NUMBER = 16


def find_run(yard: Runyard, name: str) -> Run:
    """Find a run by its number ("12", "#12"), its id, or the start of its id."""
    from runyard import RunyardError

    name = name.strip()
    number = name.removeprefix("#")
    if number.isdecimal():
        matches = list(yard.runs(limit=2, number=int(number))) if len(number) < LONGEST_NUMBER else []
        missing = f"no run {number[:40]}"
    else:
        matches = [run for run in yard.runs(q=name, limit=500) if run.id.startswith(name)] if name else []
        matches = [run for run in matches if run.id == name] or matches
        missing = f"no run whose id starts with '{name[:40]}'"
    if len(matches) > 1:
        raise RunyardError(f"{len(matches)} runs have ids that start with '{name[:40]}': {_examples(matches)}")
    if not matches:
        raise RunyardError(f"{missing}; list runs with `runyard ls`", 404)
    return matches[0]


def find_runs(yard: Runyard, names: list[str]) -> list[Run]:
    """Find all named runs, without duplicates."""
    matches = [find_run(yard, part) for name in names for part in name.split(",") if part.strip()]
    return list({run.id: run for run in matches}.values())


def find_sweep(yard: Runyard, name: str) -> Sweep:
    """Find a sweep by its number ("3", "#3"), its id, or the start of its id."""
    from runyard import RunyardError

    name = name.strip()
    number = name.removeprefix("#")
    if number.isdecimal():
        found = yard.sweeps(1, after=int(number) + 1) if len(number) < LONGEST_NUMBER else []
        matches = [sweep for sweep in found if sweep.number == int(number)]
        missing = f"no sweep {number[:40]}"
    else:
        matches = [sweep for sweep in yard.sweeps(200) if name and sweep.id.startswith(name)]
        missing = f"no sweep whose id starts with '{name[:40]}'"
    if len(matches) > 1:
        raise RunyardError(f"{len(matches)} sweeps have ids that start with '{name[:40]}': {_examples(matches)}")
    if not matches:
        raise RunyardError(f"{missing}; list sweeps with `runyard sweep ls`", 404)
    return yard.find_sweep(matches[0].id)


def _examples(matches: Sequence[Run | Sweep]) -> str:
    shown = [f"#{match.number} {match.id}" for match in matches[:3]]
    return ", ".join([*shown, "…"] if len(matches) > len(shown) else shown)
