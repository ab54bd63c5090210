"""What `runyard exec` and `runyard program add` share: the environment that they sign, and the key."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runyard import Runyard

ALWAYS = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
"""Variables that decide which programs and packages a command finds; they are as where it was typed."""

Environment = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="Environment variable to set; without a value, the current one. Can be repeated.",
    ),
]


def chosen_environment(given: Sequence[str]) -> dict[str, str]:
    """The variables to sign: those in ALWAYS, the server's token, and those of --env. Raises ValueError."""
    chosen = {name: os.environ[name] for name in ALWAYS if name in os.environ}
    return chosen | _token(os.environ) | _variables(given, os.environ)


def _token(environment: Mapping[str, str]) -> dict[str, str]:
    """The token for the server, if there is one, as the script's MLflow client and Runyard's own read it."""
    token = environment.get("RUNYARD_TOKEN")
    return {"RUNYARD_TOKEN": token, "MLFLOW_TRACKING_TOKEN": token} if token else {}


def _variables(given: Sequence[str], current: Mapping[str, str]) -> dict[str, str]:
    """The variables of --env. Raises ValueError for one without a value that is not set here."""
    variables = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            if name not in current:
                raise ValueError(f"--env {name[:60]}: this variable is not set here; write --env {name[:60]}=VALUE")
            value = current[name]
        variables[name] = value
    return variables


def owner_key(yard: Runyard, what: str, done: str) -> bytes:
    """The key of the server's data folder. Raises ValueError if this user cannot read it."""
    from app.contract.command_key import KeyFileError, read_key

    file = Path(yard.ask("GET", "/commands/key")["file"])
    try:
        return read_key(file)
    except KeyFileError as error:
        raise ValueError(
            f"{error}; {what} can only be {done} by the user who runs the server, on the same machine"
        ) from error
