"""/runs/{id}/exports: the section "Use this model" of a run's page, and the files that exports wrote."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from pydantic import BaseModel

from app.actions.runs import find_run
from app.contract.errors import NotFound
from app.contract.model_jobs import ExportFormat
from app.contract.timestamps import iso
from app.services.exports import Export, exports_of, newest_jobs, open_export
from app.services.model_jobs import refusal
from app.store.database import reading
from app.web.dependencies import Parts, PartsDep
from app.web.model_use import usage

api = APIRouter(tags=["models"])
pages = APIRouter()


class ExportOut(BaseModel):
    """An exported file. ``difference``: the largest one of a probability from torch, on ``pictures`` test pictures;
    null for weights alone. ``preprocessing``: whether it takes raw pixels. ``made``: ISO 8601, UTC.
    """

    name: str
    format: Literal["onnx", "torch_export", "safetensors"]
    preprocessing: bool
    bytes: int
    difference: float | None
    pictures: int
    epoch: int
    made: str
    url: str


class ExportsOut(BaseModel):
    """The exported files of a run, newest first."""

    exports: list[ExportOut]


def _exports(parts: Parts, run_id: str) -> list[Export]:
    find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return exports_of(connection, run_id)


@api.get("/runs/{run_id}/exports")
def get_exports(run_id: str, parts: PartsDep) -> ExportsOut:
    """List the files that jobs of kind export wrote for a run, newest first."""
    return ExportsOut(
        exports=[
            ExportOut(
                name=each.name,
                format=each.result.format,
                preprocessing=each.result.preprocessing,
                bytes=each.bytes,
                difference=each.result.difference,
                pictures=each.result.pictures,
                epoch=each.result.epoch,
                made=iso(each.made_at) or "",
                url=f"/api/v1/runs/{run_id}/exports/{each.name}",
            )
            for each in _exports(parts, run_id)
        ]
    )


@api.get("/runs/{run_id}/exports/{name}", response_class=StreamingResponse)
def get_export(run_id: str, name: Annotated[str, Path(max_length=80)], parts: PartsDep) -> StreamingResponse:
    """Download an exported file."""
    run, _ = find_run(parts, run_id)
    exports = _exports(parts, run_id)
    export = next((each for each in exports if each.name == name), None)
    if export is None:
        names = ", ".join(each.name for each in exports) or "none yet"
        raise NotFound(f"no exported file '{name[:80]}' of this run; files: {names}")
    headers = {
        "content-disposition": f'attachment; filename="{file_name(run.number, name)}"',
        "content-length": str(export.bytes),
        "cache-control": "no-store",
    }
    chunks = open_export(parts.settings, run_id, export)
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=headers)


def file_name(number: int, name: str) -> str:
    """The name under which an exported file is saved: "run-12-model.onnx"."""
    return f"run-{number}-{name}"


# Pages ---------------------------------------------------------------------------------------------------------------


def export_context(parts: Parts, run_id: str) -> dict[str, Any]:
    """What the section "Use this model" shows."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        files, jobs = exports_of(connection, run_id), newest_jobs(connection, run_id)
    if run.logged:
        return {"uses": [], "use_refused": "", "export_live": False}
    uses = [
        (use, jobs.get(use.format), [file for file in files if file.result.format == use.format])
        for use in usage(run.config, run.number)
    ]
    live = any(job.live for job in jobs.values())
    return {"uses": uses, "use_refused": refusal(run, "export"), "export_live": live}


@pages.get("/runs/{run_id}/use")
def use_section(run_id: str, request: Request, parts: PartsDep) -> HTMLResponse:
    """Render the section "Use this model", refreshed while an export is made."""
    run, _ = find_run(parts, run_id)
    return parts.templates.fragment(request, "_run_use.html", run=run, **export_context(parts, run_id))


@pages.post("/runs/{run_id}/export")
def post_export(
    run_id: str,
    request: Request,
    parts: PartsDep,
    file_format: Annotated[ExportFormat, Form(alias="format")],
    preprocessing: Annotated[bool, Form()] = False,
) -> Response:
    """Start an export from the run's page."""
    parts.jobs.start(run_id, "export", {"format": file_format, "preprocessing": preprocessing})
    if "hx-request" in request.headers:
        return use_section(run_id, request, parts)
    return RedirectResponse(f"/runs/{run_id}#run-use", 303)
