"""/api/v1/commands: submit a command that a worker executes. Only the owner of the data folder can."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel

from app.actions.command_sweeps import launch_command_sweep
from app.actions.commands import execute
from app.actions.runs import find_run
from app.contract.command import CommandRequest
from app.contract.command_key import ensure_key
from app.contract.command_sweep import CommandSweepRequest
from app.routes.runs.api import RunOut, as_json
from app.routes.sweeps.api import SweepOut, read_sweep
from app.web.dependencies import PartsDep

api = APIRouter(tags=["runs"])


class KeyOut(BaseModel):
    """The ``file`` with the key that signs commands; only the owner of the data folder can read it."""

    file: str


@api.get("/commands/key")
def get_key(parts: PartsDep) -> KeyOut:
    """Get the path of the key file, never the key."""
    return KeyOut(file=str(ensure_key(parts.settings.data_dir)))


@api.post("/commands", status_code=201)
def post_command(
    request: CommandRequest,
    parts: PartsDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> RunOut:
    """Launch a run that executes a command. The command must be signed, which `runyard exec` does.

    Repeating an Idempotency-Key returns the run launched with it before.
    """
    run_id = execute(parts, request, idempotency_key or None)
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return as_json(*find_run(parts, run_id))


@api.post("/commands/sweeps", status_code=201)
def post_command_sweep(
    request: CommandSweepRequest,
    parts: PartsDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> SweepOut:
    """Launch a sweep over the placeholders of a command, which must be signed with what may stand in for them.

    `runyard exec --sweep` does that. Repeating an Idempotency-Key returns the sweep launched with it before.
    """
    sweep = launch_command_sweep(parts, request, idempotency_key or None)
    response.headers["location"] = f"/api/v1/sweeps/{sweep}"
    return read_sweep(parts, sweep)
