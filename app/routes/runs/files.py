"""/api/v1/runs/{id}/files: list, add and download the files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from app.actions import run_files as acts
from app.actions.runs import find_run
from app.contract.errors import RunyardError
from app.contract.run_files import MAX_PATH, FileKind, checked_path, kind_of
from app.contract.timestamps import iso
from app.routes.runs.file_tree import file_url
from app.services.run_files import StoredFile, files_of, load_file, zip_of
from app.store.database import reading
from app.store.run import RunRecord
from app.web.dependencies import Parts, PartsDep
from app.web.file_response import SAFE_HEADERS, attachment, file_response

api = APIRouter(tags=["runs"])

Under = Annotated[str, Query(max_length=MAX_PATH, description="Only the files in this folder and its folders.")]


_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
UPLOAD: Final[dict[str, Any]] = {"requestBody": {"required": True, "content": {"application/octet-stream": _BYTES}}}
"""How OpenAPI describes the body, which is written to disk while it arrives."""


class FileOut(BaseModel):
    """A file of a run. ``bytes``: null if unknown. ``created``: ISO 8601, UTC; null if unknown.

    ``source``: who wrote it: a script that logged the run, its trainer (checkpoint, predictions), an export, or Runyard
    itself, from what is recorded of the run (record). ``kind``: what its name says.
    """

    path: str
    source: Literal["script", "checkpoint", "predictions", "export", "record"]
    kind: FileKind
    bytes: int | None = Field(ge=0)
    created: str | None
    url: str


class FilesOut(BaseModel):
    """The files of a run by path, at most 100,000; ``bytes``: of all of them whose size is known."""

    files: list[FileOut]
    bytes: int


def load_files(parts: Parts, run_id: str) -> tuple[RunRecord, list[StoredFile]]:
    """A run and its files. Raises NotFound."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        return run, files_of(connection, run)


def _in_folder(files: Sequence[StoredFile], folder: str) -> list[StoredFile]:
    folder = folder.rstrip("/")
    if folder:
        checked_path(folder)
    return [file for file in files if not folder or file.path.startswith(f"{folder}/")]


@api.get("/runs/{run_id}/files")
def get_files(run_id: str, parts: PartsDep, under: Under = "") -> FilesOut:
    """List the files of a run: what its script logged, or its checkpoints, predictions, exports and records."""
    _, files = load_files(parts, run_id)
    found = _in_folder(files, under)
    listed = [
        FileOut(
            path=file.path,
            source=file.source,
            kind=kind_of(file.path),
            bytes=file.size,
            created=iso(file.created_at),
            url=file_url(run_id, file),
        )
        for file in found
    ]
    return FilesOut(files=listed, bytes=sum(file.size or 0 for file in found))


@api.put("/runs/{run_id}/files/{path:path}", status_code=204, openapi_extra=UPLOAD)
async def put_file(run_id: str, path: str, request: Request, parts: PartsDep) -> None:
    """Keep a file with a run that a script logs; one that is there is replaced."""
    length = request.headers.get("content-length")
    body = request.stream()
    try:
        await acts.upload(parts, run_id, path, body, None if length is None else int(length))
    except RunyardError:
        # A client that is still sending would not read the answer.
        async for _ in body:
            continue
        raise


@api.get("/runs/{run_id}/files.zip", response_class=StreamingResponse)
def get_zip(run_id: str, parts: PartsDep, under: Under = "") -> StreamingResponse:
    """Download the files of a run as a zip archive, which is made while it is sent."""
    run, files = load_files(parts, run_id)
    found = _in_folder(files, under)
    name = "-".join(["run", str(run.number), *under.strip("/").split("/")]).rstrip("-")
    headers = SAFE_HEADERS | {"content-disposition": attachment(f"{name}.zip")}
    return StreamingResponse(zip_of(parts.settings, found), media_type="application/zip", headers=headers)


@api.get("/runs/{run_id}/files/{path:path}", response_class=StreamingResponse)
def get_file(
    run_id: str,
    path: str,
    parts: PartsDep,
    wanted_range: Annotated[str, Header(alias="range", max_length=100)] = "",
    download: Annotated[bool, Query(description="Save it, also an image or a sound that a browser can show.")] = False,
    v: Annotated[str, Query(max_length=40, description="Version in the file's url, which a browser may keep.")] = "",
) -> Response:
    """Download a file. Images and sounds are shown in place, everything else is saved; nothing is executed."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        file = load_file(connection, run, checked_path(path))
    response = file_response(parts.settings, file, wanted_range, download)
    if v and v == file.version:
        response.headers["cache-control"] = "private, max-age=604800, immutable"
    return response
