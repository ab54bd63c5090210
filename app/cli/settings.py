"""Settings of a command: environment variables, overridden by command-line options."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

from app.contract.settings import Settings


def read_settings(**options: object) -> Settings:
    """Read the settings, overridden by ``options`` that are not None, and export these to child processes.

    Exits with status 2 and a line for each invalid setting.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings.model_validate({**Settings().model_dump(), **given})
    except ValidationError as error:
        for details in error.errors():
            name = ".".join(str(part) for part in details["loc"])
            print(f"runyard: {name}: {details['msg']}", file=sys.stderr)
        raise typer.Exit(2) from error
    for name, value in given.items():
        os.environ[f"RUNYARD_{name.upper()}"] = str(value)
    return settings
