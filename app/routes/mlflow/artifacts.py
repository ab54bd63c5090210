"""/api/2.0/mlflow-artifacts: files of runs and models, as MLflow's clients log, list, download and delete them.

Also all other MLflow calls that Runyard does not support, with MLflow's error codes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool

from app.actions import run_files as acts
from app.actions.logged_models import find as find_model
from app.actions.run_files import Part
from app.actions.tracking import find
from app.contract.errors import NotFound, RunyardError
from app.contract.run_files import checked_path
from app.routes.mlflow.experiments import ARTIFACTS
from app.routes.mlflow.logged_models import artifacts_of
from app.routes.mlflow.protocol import PREFIX, Answer, Arguments, NotServed, call, read_arguments, refusal, router
from app.services.run_files import logged_file
from app.store.run_file import FileRecord
from app.web.dependencies import Parts, parts
from app.web.file_response import file_response

FILES = "/api/2.0/mlflow-artifacts"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_ROOT = re.compile(
    r"\d{1,18}/(?:models/(?P<model>m-[^/]{1,78})|(?P<run>[^/]{1,80}))/artifacts(?:/(?P<path>.*))?", re.DOTALL
)
"""What an artifact_uri contains: EXPERIMENT/RUN/artifacts or EXPERIMENT/models/MODEL/artifacts, and then a path."""

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Place:
    """A file or folder of a run. ``root``: blank, or the folder of a model, to which the blank ``path`` leads."""

    run: str
    path: str
    root: str = ""

    @property
    def full(self) -> str:
        """The path among the run's files."""
        return "/".join(filter(None, (self.root, self.path)))


def place_of(parts: Parts, path: str) -> Place:
    """Return what an artifact_uri leads to. Raises NotFound."""
    found = _ROOT.fullmatch(path)
    if found is None:
        raise NotFound(
            f"no files at '{path[:100]}'; files are at EXPERIMENT/RUN/artifacts/PATH or"
            " EXPERIMENT/models/MODEL/artifacts/PATH"
        )
    rest = (found["path"] or "").rstrip("/")
    if found["model"] is None:
        return Place(found["run"], rest)
    # What was deleted can still be read: versions in the registry may consist of it.
    model = find_model(parts, found["model"], deleted=True)
    return Place(model.run, rest, model.folder)


async def _place(request: Request, path: str) -> Place:
    return await run_in_threadpool(place_of, parts(request), path)


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
    place = await _place(request, request.query_params.get("path", ""))
    folder = place.full and checked_path(place.full)
    list_them = partial(acts.logged_files, parts(request), place.run, folder, models=bool(place.root))
    files = await run_in_threadpool(list_them)
    return _json({"files": _children(files, folder)})


async def _download(request: Request, run: str, path: str) -> Response:
    record = await run_in_threadpool(acts.logged_file, parts(request), run, path)
    file, wanted = logged_file(run, record), request.headers.get("range", "")
    # Opens the file, which may be on another machine.
    return await run_in_threadpool(file_response, parts(request).settings, file, wanted, download=True)


@_answered
async def download_file(request: Request) -> Response:
    """Send a file."""
    place = await _place(request, request.path_params["path"])
    return await _download(request, place.run, place.full)


@_answered
async def get_artifact(request: Request) -> Response:
    """Send a file that is named by its run and its path."""
    query = request.query_params
    return await _download(request, query.get("run_uuid") or query.get("run_id", ""), query.get("path", ""))


@_answered
async def upload_file(request: Request) -> Response:
    """Receive a file."""
    place = await _place(request, request.path_params["path"])
    checked_path(place.path)
    length = request.headers.get("content-length")
    announced = None if length is None else int(length)
    await acts.upload(parts(request), place.run, place.full, request.state.body, announced)
    return _json({})


@_answered
async def delete_file(request: Request) -> Response:
    """Delete a file, or a folder with all files in it."""
    place = await _place(request, request.path_params["path"])
    delete = partial(acts.delete_logged, parts(request), place.run, place.full, models=bool(place.root))
    await run_in_threadpool(delete)
    return _json({})


# Uploads in parts ----------------------------------------------------------------------------------------------------


async def _target(request: Request, args: Arguments) -> tuple[str, str]:
    """Run and path of a file that is sent in parts: the client names its folder, and its own file."""
    place = await _place(request, request.path_params["path"])
    name = checked_path(re.split(r"[/\\]", args.text("path"))[-1])
    return place.run, f"{place.full}/{name}" if place.full else name


@_answered
async def create_upload(request: Request) -> Response:
    """Start an upload in parts; answers where to send each of them."""
    args = await read_arguments(request)
    run, path = await _target(request, args)
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
    run, path = await _target(request, args)
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
    run, _ = await _target(request, args)
    await run_in_threadpool(acts.abort_parts, parts(request), run, args.text("upload_id", most=40))
    return _json({})


# Files of models -----------------------------------------------------------------------------------------------------


@call("/logged-models/{model_id}/artifacts/directories", "GET")
def list_model_artifacts(parts: Parts, args: Arguments) -> Answer:
    """List what is directly in a folder of a model's files."""
    model = find_model(parts, args.text("model_id", most=80), deleted=True)
    path = args.text("artifact_directory_path", "").rstrip("/")
    folder = Place(model.run, path and checked_path(path), model.folder).full
    files = _children(acts.logged_files(parts, model.run, folder, models=True), folder)
    for file in files:
        file["path"] = f"{path}/{file['path']}" if path else file["path"]
    return {"root_uri": artifacts_of(model), "files": files}


# Everything else -----------------------------------------------------------------------------------------------------


@_answered
async def not_served(request: Request) -> Response:
    """Refuse a call that Runyard does not support."""
    path = request.url.path[:200]
    raise NotServed(f"Runyard does not support {path}, only MLflow's experiments, runs, files and models")


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
