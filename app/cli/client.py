"""The server that a command talks to, the runs that are named to it, and how what goes wrong is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.settings import read_settings
from app.contract.settings import Settings
from app.contract.spec import SpecError

if TYPE_CHECKING:
    from runyard import Run, Runyard, Sweep

INTERRUPTED = 130
SERVER = "The server"

Url = Annotated[
    str | None,
    typer.Option(
        envvar="RUNYARD_URL",
        help="The server; left out: that of RUNYARD_HOST and RUNYARD_PORT. RUNYARD_TOKEN is sent to it.",
        rich_help_panel=SERVER,
    ),
]


class UsageError(ValueError):
    """What was typed cannot be meant; ends with status 2."""


def server_address(settings: Settings) -> str:
    """Where a server with these settings listens, seen from this machine. Raises UsageError where that is open."""
    if settings.port == 0:
        raise UsageError("RUNYARD_PORT is 0, which can be any port; name the server in RUNYARD_URL")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def connect(url: str | None) -> Runyard:
    """The server at ``url``, else where the settings say that one listens."""
    # httpx takes a tenth of a second to import, which `runyard --help` need not wait for.
    from runyard import Runyard

    return Runyard(url or server_address(read_settings()))


def tell(sentence: str) -> None:
    """Say something that is no result."""
    print(f"runyard: {sentence}", file=sys.stderr)


@contextmanager
def told(url: str | None, status: int = 1, interrupted: str = "stopped") -> Iterator[Runyard]:
    """The server; what goes wrong is said in one sentence each, and ends the command with ``status``.

    What was typed wrongly ends it with 2, Ctrl-C with 130 and the sentence ``interrupted``.
    """
    from runyard import RunyardError

    try:
        with connect(url) as yard:
            yield yard
    except SpecError as error:
        for each in error.errors:
            tell(each.message)
        raise typer.Exit(2) from error
    except RunyardError as error:
        for sentence in [each.message for each in error.errors] or [error.detail]:
            tell(sentence)
        raise typer.Exit(status) from error
    except ValueError as error:
        tell(str(error))
        raise typer.Exit(2) from error
    except BrokenPipeError:
        # Whoever read what is printed has read enough (`runyard ls | head`): typer ends quietly.
        raise
    except OSError as error:
        tell(str(error))
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        tell(interrupted)
        raise typer.Exit(INTERRUPTED) from error


# What is named -------------------------------------------------------------------------------------------------------


def find_run(yard: Runyard, name: str) -> Run:
    """The run that is named by its number ("12", "#12"), its id, or the beginning of its id."""
    from runyard import RunyardError

    name = name.strip()
    number = name.removeprefix("#")
    if number.isdecimal():
        found = list(yard.runs(limit=2, number=int(number)))
        missing = f"no run {int(number)}"
    else:
        found = [run for run in yard.runs(q=name, limit=500) if run.id.startswith(name)] if name else []
        found = [run for run in found if run.id == name] or found
        missing = f"no run's id begins with '{name[:40]}'"
    if len(found) > 1:
        some = ", ".join(f"#{run.number} {run.id}" for run in found[:3])
        raise RunyardError(f"{len(found)} runs' ids begin with '{name[:40]}': {some}, …")
    if not found:
        raise RunyardError(f"{missing}; `runyard ls` lists them", 404)
    return found[0]


def find_runs(yard: Runyard, names: list[str]) -> list[Run]:
    """Every run that is named, once each."""
    found = [find_run(yard, part) for name in names for part in name.split(",") if part.strip()]
    return list({run.id: run for run in found}.values())


def find_sweep(yard: Runyard, name: str) -> Sweep:
    """The sweep that is named by its number, its id, or the beginning of its id."""
    from runyard import RunyardError

    name = name.strip().removeprefix("#")
    if name.isdecimal():
        found = [sweep for sweep in yard.sweeps(1, after=int(name) + 1) if sweep.number == int(name)]
    else:
        found = [sweep for sweep in yard.sweeps(200) if name and sweep.id.startswith(name)]
    if len(found) != 1:
        said = "no sweep is" if not found else f"{len(found)} sweeps are"
        raise RunyardError(f"{said} called '{name[:40]}'; `runyard sweep ls` lists them", 404)
    return yard.find_sweep(found[0].id)
