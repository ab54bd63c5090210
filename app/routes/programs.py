"""/api/v1/programs: list, launch, and with their owner's signature add and remove programs.

Their pages are in app/routes/program_page.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel

from app.actions.command_sweeps import launch_program_sweep
from app.actions.programs import (
    add_program,
    find_program,
    launch_program,
    list_programs,
    remove_program,
    trouble_of,
)
from app.actions.runs import find_run
from app.contract.command import hide_secrets
from app.contract.errors import Invalid
from app.contract.program import FieldType, Program, ProgramLaunch
from app.contract.program_sweep import ProgramSweepRequest
from app.contract.spec import FieldError
from app.contract.timestamps import iso
from app.routes.program_page import pages as pages
from app.routes.runs.api import RunOut, as_json
from app.routes.sweeps.api import SweepOut, read_sweep
from app.store.program import ProgramRecord
from app.web.dependencies import Parts, PartsDep

api = APIRouter(tags=["programs"])


class ProgramFieldOut(BaseModel):
    """A field of a program. ``default`` is null for a required one. ``within``: the folder that a path stays in."""

    name: str
    type: FieldType
    required: bool
    default: bool | int | float | str | None
    help: str
    min: int | float | None
    max: int | float | None
    choices: list[str]
    max_length: int
    if_true: str
    if_false: str
    within: str


class ProgramOut(BaseModel):
    """A program: its ``command`` with `{field}` where a value goes, without secrets.

    ``variables``: names of the environment variables that are set for it. ``worker``: start of the ID of the workers
    that can start it. ``trouble``: why it cannot be launched, "" if it can.
    """

    name: str
    url: str
    about: str
    command: list[str]
    fields: list[ProgramFieldOut]
    folder: str
    variables: list[str]
    experiment: str
    worker: str
    restarts: int
    added: str
    changed: str
    trouble: str


class ProgramsOut(BaseModel):
    """All programs by name."""

    programs: list[ProgramOut]


class ProgramAddedOut(ProgramOut):
    """A program, and what adding it changed."""

    outcome: Literal["added", "replaced", "unchanged"]


class LaunchedOut(BaseModel):
    """The runs that were launched, in the order of their seeds."""

    runs: list[RunOut]


def program_fields(parts: Parts, record: ProgramRecord) -> dict[str, Any]:
    """Return the fields of a ProgramOut."""
    program = record.program or Program.model_construct(name=record.name, command=[], folder="", url="")
    fields = [field.model_dump() | {"required": field.required} for field in program.fields]
    return {
        "name": record.name,
        "url": f"/programs/{record.name}",
        "about": program.about,
        "command": hide_secrets(program.command),
        "fields": fields,
        "folder": program.folder,
        "variables": sorted(program.environment),
        "experiment": program.experiment or record.name,
        "worker": program.worker,
        "restarts": program.restarts,
        "added": iso(record.added_at),
        "changed": iso(record.changed_at),
        "trouble": trouble_of(parts, record),
    }


@api.get("/programs")
def get_programs(parts: PartsDep) -> ProgramsOut:
    """List all programs."""
    return ProgramsOut.model_validate({"programs": [program_fields(parts, each) for each in list_programs(parts)]})


@api.get("/programs/{name}")
def get_program(name: str, parts: PartsDep) -> ProgramOut:
    """Get a program with its fields."""
    return ProgramOut.model_validate(program_fields(parts, find_program(parts, name)))


@api.put("/programs/{name}")
def put_program(
    name: str, program: Program, parts: PartsDep, replace: Annotated[bool, Query()] = False
) -> ProgramAddedOut:
    """Add a program, or ``replace`` the one of its name. It must be signed, which `runyard program add` does."""
    if program.name != name:
        message = f"name must be '{name[:60]}', as in the address"
        raise Invalid(message, [FieldError("name", message)])
    record, outcome = add_program(parts, program, replace)
    return ProgramAddedOut.model_validate(program_fields(parts, record) | {"outcome": outcome})


@api.delete("/programs/{name}", status_code=204)
def delete_program(name: str, parts: PartsDep, signature: Annotated[str, Query(max_length=64)] = "") -> Response:
    """Remove a program; its runs stay. It needs a signature, which `runyard program rm` computes."""
    remove_program(parts, name, signature)
    return Response(status_code=204)


@api.post("/programs/{name}/runs", status_code=201)
def post_program_runs(
    name: str,
    request: ProgramLaunch,
    parts: PartsDep,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> LaunchedOut:
    """Launch a program with values for its fields: one run, or one for each of several ``seeds``.

    Repeating an Idempotency-Key returns the runs launched with it before.
    """
    runs = launch_program(parts, name, request, idempotency_key or None)
    return LaunchedOut(runs=[as_json(*find_run(parts, run)) for run in runs])


@api.post("/programs/{name}/sweeps", status_code=201)
def post_program_sweep(
    name: str,
    request: ProgramSweepRequest,
    parts: PartsDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> SweepOut:
    """Launch a sweep over fields of a program: numbers, choices, and yes or no.

    Each value must fit its field. Repeating an Idempotency-Key returns the sweep launched with it before.
    """
    sweep = launch_program_sweep(parts, name, request, idempotency_key or None)
    response.headers["location"] = f"/api/v1/sweeps/{sweep}"
    return read_sweep(parts, sweep)
