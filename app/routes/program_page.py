"""/programs: the programs that can be launched, and the form of one."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.actions.command_sweeps import launch_program_sweep
from app.actions.programs import find_program, launch_program, launchable, list_programs, trouble_of, values_of_run
from app.actions.runs import find_run
from app.contract.command import command_line, command_title, hide_secrets, template_line
from app.contract.command_template import Value
from app.contract.errors import Conflict, NotFound
from app.contract.program import Program, ProgramCall
from app.contract.program_sweep import VARIED_TYPES
from app.contract.program_values import command_of, template_arguments
from app.routes.launch.commands import program_commands
from app.routes.launch.form import Form, gathered
from app.routes.launch.invalid_fields import invalid_of
from app.routes.program_form import (
    NAMED,
    SOURCE,
    ProgramDraft,
    address,
    differences,
    form_of,
    read_draft,
    run_fields,
    sweep_fields,
    value_fields,
)
from app.routes.program_variations import HOW_NAMES, also_choices
from app.store.run import RunRecord
from app.web.dependencies import Parts, PartsDep

pages = APIRouter()

LONGEST_ADDRESS = 4000
MOST_FORM_FIELDS = 1000


@pages.get("/programs")
def programs_page(request: Request, parts: PartsDep) -> HTMLResponse:
    """Show all programs, or how to add one."""
    rows = [
        {
            "name": record.name,
            "program": record.program,
            "title": command_title(record.program.command) if record.program else "",
            "trouble": trouble_of(parts, record),
            "changed_at": record.changed_at,
        }
        for record in list_programs(parts)
    ]
    return parts.templates.page(request, "programs.html", rows=rows)


# The form of one -----------------------------------------------------------------------------------------------------


def _source(parts: Parts, draft: ProgramDraft) -> tuple[RunRecord, Mapping[str, Value]] | None:
    """The run that the form was filled in from with its values, if it is one of this program and still exists."""
    run_id = draft.text(SOURCE)
    try:
        return (find_run(parts, run_id)[0], values_of_run(parts, run_id, draft.program)) if run_id else None
    except NotFound:
        return None


def _values(request: Request, parts: Parts, draft: ProgramDraft) -> dict[str, Any]:
    source = _source(parts, draft)
    given = draft.request.model_dump(mode="json", exclude_defaults=True) if draft.request else {}
    sweep = draft.sweep.request if draft.sweep is not None else None
    fields, how = value_fields(draft), sweep_fields(draft)
    placed = {each.row.name for each in (*fields, *run_fields(draft), *how)}
    return {
        "program": draft.program,
        "draft": draft,
        "main": fields,
        "more": run_fields(draft),
        "how": how,
        "can_vary": any(each.type in VARIED_TYPES for each in draft.program.fields),
        "also": also_choices(draft.program, draft.form),
        "named": NAMED,
        "how_named": HOW_NAMES,
        "unplaced": [message for name, message in draft.errors.items() if name not in placed],
        "changed": sum(each.changed for each in fields),
        "back": f"/programs/{draft.program.name}",
        "line": _line(draft),
        "commands": program_commands(draft.program.name, given, str(request.base_url), sweep)
        if draft.request
        else None,
        "source": source[0] if source else None,
        "differs": differences(draft, source[1]) if source else None,
        "invalid": invalid_of((*fields, *how, *run_fields(draft))),
        "focus": "",
        "key": secrets.token_urlsafe(12),
    }


def _line(draft: ProgramDraft) -> str:
    """The command that starts, with placeholders for the fields with several values; "" while a field is invalid."""
    if not draft.values or draft.request is None:
        return ""
    if draft.sweep is None:
        return command_line(hide_secrets(command_of(ProgramCall(program=draft.program, values=draft.values[0])).argv))
    return template_line(hide_secrets(template_arguments(draft.program, draft.values[0], draft.varied.fields)))


def _page(request: Request, parts: Parts, draft: ProgramDraft, status: int = 200, refusal: str = "") -> HTMLResponse:
    """The page; ``refusal``: why a valid form was not launched."""
    values = _values(request, parts, draft)
    if refusal:
        values["unplaced"] = [refusal, *values["unplaced"]]
    elif draft.posted and values["invalid"]:
        values["focus"] = values["invalid"][0].element
    return parts.templates.page(request, "program.html", status, **values)


@pages.get("/programs/{name}")
def program_page(name: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Show the form of a program. ?v-FIELD=… fills it in; ?from=RUN copies the values of a run of it."""
    record = find_program(parts, name)
    if (trouble := trouble_of(parts, record)) or record.program is None:
        return parts.templates.page(request, "program_unusable.html", program_name=record.name, trouble=trouble)
    form = gathered(parse_qsl(request.url.query, keep_blank_values=True))
    if form.get("from"):
        run, _ = find_run(parts, form["from"][0])
        values = values_of_run(parts, run.id, record.program)
        form = form_of(record.program, run, values) | {name: given for name, given in form.items() if name != "from"}
    return _page(request, parts, read_draft(record.program, form))


async def _posted(request: Request) -> Form:
    async with request.form(max_files=0, max_fields=MOST_FORM_FIELDS) as posted:
        return gathered(posted.multi_items())


@pages.post("/programs/{name}/check")
async def program_check(name: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Return errors and the command while the user types."""
    form = await _posted(request)

    def rendered() -> HTMLResponse:
        draft = read_draft(launchable(parts, name), form)
        response = parts.templates.fragment(request, "_program_update.html", **_values(request, parts, draft))
        # The URL has the form's state, so that it can be reloaded, bookmarked and shared.
        if len(url := address(draft)) <= LONGEST_ADDRESS:
            response.headers["HX-Replace-Url"] = url
        return response

    return await run_in_threadpool(rendered)


@pages.post("/programs/{name}")
async def post_program(name: str, request: Request, parts: PartsDep) -> Response:
    """Launch a program, or show the form again with an error next to each invalid field, or why it was not launched."""
    form = await _posted(request)
    return await run_in_threadpool(_launch, request, parts, launchable(parts, name), form)


def _launch(request: Request, parts: Parts, program: Program, form: Form) -> Response:
    key = form.pop("key", [""])[0]
    draft = read_draft(program, form)
    if draft.request is None:
        draft.posted = True
        return _page(request, parts, draft, 422)
    # Pressing the button twice launches the same runs or sweep; filling in the same form again launches others.
    content = json.dumps([key, program.name, sorted(form.items())]).encode()
    token = f"form-{hashlib.sha256(content).hexdigest()}" if key else None
    try:
        if draft.sweep is not None and draft.sweep.request is not None:
            sweep = launch_program_sweep(parts, program.name, draft.sweep.request, token)
            return RedirectResponse(f"/sweeps/{sweep}", 303)
        asked = draft.request if _source(parts, draft) else draft.request.model_copy(update={"source": ""})
        runs = launch_program(parts, program.name, asked, token)
    except Conflict as error:
        return _page(request, parts, draft, error.status, error.sentence)
    return RedirectResponse(f"/runs/{runs[0]}" if len(runs) == 1 else f"/runs?q=program:{program.name}", 303)
