"""/api/2.0/mlflow-artifacts: files of runs, as MLflow's clients log, list, download and delete them.

Also all other MLflow calls that Runyard does not support, with MLflow's error codes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from app.actions import run_files as acts
from app.actions.run_files import Part
from app.actions.tracking import find
from app.contract.errors import NotFound, RunyardError
from app.contract.run_files import checked_path
from app.routes.mlflow.experiments import ARTIFACTS
from app.routes.mlflow.protocol import PREFIX, Answer, Arguments, NotServed, call, read_arguments, refusal, router
from app.services.run_files import logged_file
from app.store.run_file import FileRecord
from app.web.dependencies import Parts, parts
from app.web.file_response import file_response

FILES = "/api/2.0/mlflow-artifacts"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_ROOT = re.compile(r"\d{1,18}/([^/]{1,80})/artifacts(?:/(.*))?", re.DOTALL)
"""What an artifact_uri contains: EXPERIMENT/RUN/artifacts, and then the path of a file."""

Endpoint = Callable[[Request], Awaitable[Response]]


def _split(path: str) -> tuple[str, str]:
    """Run and path of a file or folder; a blank path is the folder of all files. Raises NotFound."""
    found = _ROOT.fullmatch(path)
    if found is None:
        raise NotFound(f"no files at '{path[:100]}'; files are at EXPERIMENT/RUN/artifacts/PATH")
    return found[1], (found[2] or "").rstrip("/")


def _answered(function: Endpoint) -> Endpoint:
    """Answer errors in MLflow's format, once everything that the client sends has been read.

    A client that is still sending would not read an earlier answer, and would try again for minutes.
    """

    async def endpoint(request: Request) -> Response:
        request.state.body = request.stream()
        try:
            return await function(request)
        except RunyardError as error:
            async for _ in request.state.body:
                continue
            return refusal(error)

    endpoint.__name__ = function.__name__
    return endpoint


def _json(answer: Any) -> Response:
    return Response(to_json(answer), media_type="application/json")


def _children(files: list[FileRecord], folder: str) -> list[Answer]:
    """What is directly in a folder, by name: files with their bytes, and folders."""
    start = len(folder) + 1 if folder else 0
    found: dict[str, Answer] = {}
    for file in files:
        name, slash, _ = file.path[start:].partition("/")
        found[name] = {"path": name, "is_dir": True} if slash else _file_info(name, file)
    return [found[name] for name in sorted(found)]


def _file_info(name: str, file: FileRecord) -> Answer:
    return {"path": name, "is_dir": False, "file_size": file.bytes}


# Files ---------------------------------------------------------------------------------------------------------------


@call("/artifacts/list", "GET")
def list_artifacts(parts: Parts, args: Arguments) -> Answer:
    """List what is directly in a folder of a run's files."""
    folder = args.text("path", "").rstrip("/")
    logged = find(parts, args.run)
    files = _children(acts.logged_files(parts, logged.id, folder and checked_path(folder)), folder)
    for file in files:
        file["path"] = f"{folder}/{file['path']}" if folder else file["path"]
    return {"root_uri": f"{ARTIFACTS}{logged.row['experiment']}/{logged.id}/artifacts", "files": files}


@_answered
async def list_files(request: Request) -> Response:
    """List what is directly in a folder; the names are relative to it."""
    run, folder = _split(request.query_params.get("path", ""))
    files = await run_in_threadpool(acts.logged_files, parts(request), run, folder and checked_path(folder))
    return _json({"files": _children(files, folder)})


async def _download(request: Request, run: str, path: str) -> Response:
    record = await run_in_threadpool(acts.logged_file, parts(request), run, path)
    file, wanted = logged_file(run, record), request.headers.get("range", "")
    # Opens the file, which may be on another machine.
    return await run_in_threadpool(file_response, parts(request).settings, file, wanted, download=True)


@_answered
async def download_file(request: Request) -> Response:
    """Send a file."""
    return await _download(request, *_split(request.path_params["path"]))


@_answered
async def get_artifact(request: Request) -> Response:
    """Send a file that is named by its run and its path."""
    query = request.query_params
    return await _download(request, query.get("run_uuid") or query.get("run_id", ""), query.get("path", ""))


@_answered
async def upload_file(request: Request) -> Response:
    """Receive a file."""
    run, path = _split(request.path_params["path"])
    length = request.headers.get("content-length")
    await acts.upload(parts(request), run, path, request.state.body, None if length is None else int(length))
    return _json({})


@_answered
async def delete_file(request: Request) -> Response:
    """Delete a file, or a folder with all files in it."""
    await run_in_threadpool(acts.delete_logged, parts(request), *_split(request.path_params["path"]))
    return _json({})


# Uploads in parts ----------------------------------------------------------------------------------------------------


def _target(request: Request, args: Arguments) -> tuple[str, str]:
    """Run and path of a file that is sent in parts: the client names its folder, and its own file."""
    run, folder = _split(request.path_params["path"])
    name = re.split(r"[/\\]", args.text("path"))[-1]
    return run, f"{folder}/{name}" if folder else name


@_answered
async def create_upload(request: Request) -> Response:
    """Start an upload in parts; answers where to send each of them."""
    args = await read_arguments(request)
    run, path = _target(request, args)
    count = args.whole("num_parts", 1, least=1, most=acts.MAX_PARTS)
    upload_id = await run_in_threadpool(acts.begin_parts, parts(request), run, path, count)
    address = f"{str(request.base_url).rstrip('/')}{FILES}/mpu/parts/{quote(run)}/{upload_id}"
    targets = [{"url": f"{address}/{number}", "part_number": number, "headers": {}} for number in range(1, count + 1)]
    return _json({"upload_id": upload_id, "credentials": targets})


@_answered
async def upload_part(request: Request) -> Response:
    """Receive a part; the client repeats its ETag at the end."""
    names = request.path_params
    token = await acts.upload_part(
        parts(request), names["run"], names["upload"], int(names["number"]), request.state.body
    )
    return Response(b"{}", headers={"etag": f'"{token}"'}, media_type="application/json")


@_answered
async def complete_upload(request: Request) -> Response:
    """Make a file of the parts."""
    args = await read_arguments(request)
    run, path = _target(request, args)
    sent = [
        Part(each.whole("part_number", least=1, most=acts.MAX_PARTS), each.text("etag", most=100).strip('"'))
        for each in args.parts("parts", acts.MAX_PARTS)
    ]
    order = sorted(sent, key=lambda part: part.number)
    await run_in_threadpool(acts.complete_parts, parts(request), run, path, args.text("upload_id", most=40), order)
    return _json({})


@_answered
async def abort_upload(request: Request) -> Response:
    """Drop an upload with its parts."""
    args = await read_arguments(request)
    run, _ = _target(request, args)
    await run_in_threadpool(acts.abort_parts, parts(request), run, args.text("upload_id", most=40))
    return _json({})


@call("/logged-models/search")
def search_models(_: Parts, __: Arguments) -> Answer:
    """Find no models: clients ask for them before they read files of a run, and Runyard stores none."""
    return {"models": []}


# Everything else -----------------------------------------------------------------------------------------------------


@_answered
async def not_served(request: Request) -> Response:
    """Refuse a call that Runyard does not support."""
    path = request.url.path[:200]
    raise NotServed(f"Runyard does not support {path}, only MLflow's experiments, runs, metrics and files")


for path, endpoint, method in (
    ("/artifacts", list_files, "GET"),
    ("/artifacts/{path:path}", download_file, "GET"),
    ("/artifacts/{path:path}", upload_file, "PUT"),
    ("/artifacts/{path:path}", delete_file, "DELETE"),
    ("/mpu/create/{path:path}", create_upload, "POST"),
    ("/mpu/parts/{run}/{upload}/{number:int}", upload_part, "PUT"),
    ("/mpu/complete/{path:path}", complete_upload, "POST"),
    ("/mpu/abort/{path:path}", abort_upload, "POST"),
):
    router.add_api_route(FILES + path, endpoint, methods=[method])
router.add_api_route("/get-artifact", get_artifact, methods=["GET"])
# Registered after all other routes: everything that they do not serve.
router.add_api_route(FILES + "/{rest:path}", not_served, methods=METHODS)
router.add_api_route(PREFIX + "/{rest:path}", not_served, methods=METHODS)
