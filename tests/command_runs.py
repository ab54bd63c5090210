"""Runs that execute a command, as `runyard exec` makes them."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine

from app.contract.command import Command
from app.store.command import NewCommand, find_or_insert_experiment, insert_command
from app.store.database import writing
from tests.conftest import Runs


def command_run(engine: Engine, status: str = "running", **fields: Any) -> str:
    """The id of a run that executes a command; ``fields`` of NewCommand."""
    with writing(engine) as connection:
        experiment, family = find_or_insert_experiment(connection, "Default", time.time())
        command = Command(argv=["train"], folder="/", url="http://localhost")
        run = insert_command(connection, NewCommand(command, experiment, family, **fields), time.time())
    Runs(engine).set(run, status=status)
    return run
