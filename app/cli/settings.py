"""Settings as a command sees them: the environment's, under what was said on the command line."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

from app.contract.settings import Settings


def read_settings(**said: object) -> Settings:
    """Settings of the environment under what was ``said``, None meaning nothing; child processes then see them too.

    Exits with status 2 and a line for each setting that is wrong.
    """
    given = {name: value for name, value in said.items() if value is not None}
    try:
        settings = Settings.model_validate({**Settings().model_dump(), **given})
    except ValidationError as error:
        for each in error.errors():
            name = ".".join(str(part) for part in each["loc"])
            print(f"runyard: {name}: {each['msg']}", file=sys.stderr)
        raise typer.Exit(2) from error
    for name, value in given.items():
        os.environ[f"RUNYARD_{name.upper()}"] = str(value)
    return settings
