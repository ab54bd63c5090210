"""Settings of a command: environment variables, overridden by command-line options."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.contract.settings import Settings


def read_settings(**options: object) -> Settings:
    """Read the settings, overridden by ``options`` that are not None, and export these to child processes.

    Exits with status 2 and a line for each invalid setting.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings.model_validate({**Settings().model_dump(), **given})
    except ValidationError as error:
        # Imported only for invalid settings, because it is slow.
        from app.contract.errors import to_field_errors

        for details in error.errors():
            field = str(details["loc"][0])
            name = f"RUNYARD_{field.upper()}" + (f" (--{field.replace('_', '-')})" if field in options else "")
            problem = to_field_errors([ErrorDetails(**{**details, "loc": (name,)})])[0]
            print(f"runyard: {problem.message}", file=sys.stderr)
        raise typer.Exit(2) from error
    for name, value in given.items():
        os.environ[f"RUNYARD_{name.upper()}"] = str(value)
    return settings
