"""/runs/{id}/files: the files of a run as a tree, with a preview of one, and images by step as a strip."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.actions.runs import find_run
from app.contract.errors import NotFound
from app.contract.run_files import MAX_PATH, kind_of
from app.contract.settings import Settings
from app.formats.file_preview import HEAD_BYTES, PARQUET_BYTES, Preview, needs_head, parquet_head, preview_of
from app.routes.runs.file_tree import MAX_ALL_ENTRIES, MAX_ENTRIES, Frame, Strip, file_url, strips_of, tree_of
from app.services.run_files import StoredFile, files_of, files_version, find_in, open_file, seekable
from app.store.database import reading
from app.web.dependencies import PartsDep
from app.web.rendering import wants_fragment
from app.web.security import POLICY

pages = APIRouter()

MAX_THUMBNAILS = 400
SOURCES = {
    "script": "logged by its script",
    "checkpoint": "checkpoint",
    "predictions": "kept predictions",
    "export": "export",
    "record": "recorded by Runyard",
}


@pages.get("/runs/{run_id}/files")
def files_page(
    run_id: str,
    request: Request,
    parts: PartsDep,
    path: Annotated[str, Query(max_length=MAX_PATH)] = "",
    images: Annotated[str, Query(max_length=MAX_PATH)] = "",
    at: Annotated[int, Query(ge=0, lt=2**31)] = 2**31 - 1,
    folder: Annotated[str, Query(max_length=MAX_PATH)] = "",
    everything: Annotated[bool, Query(alias="all")] = False,
    seen: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    """Render the tree, and what is chosen: a file, or the images of a key at the image with the number ``at``.

    ``folder``: is open in the tree. ``all``: list all entries of a folder. ``seen``: the version of what is shown;
    nothing is answered while it is the newest.
    """
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        version = files_version(connection, run)
        if seen and seen == version and run.live:
            return Response(status_code=204)
        if seen.startswith("0-") and wants_fragment(request):
            # The page that says that there are none shows nothing that could be updated.
            return Response(headers={"HX-Refresh": "true"})
        files = files_of(connection, run)
    strips = strips_of(files)
    strip = _strip(strips, images)
    if strip is None and not path and not folder and strips:
        strip = next(iter(strips.values()))
    file = find_in(files, path) if path else None if strip or folder else _first(files)
    frame = strip.frames[min(at, len(strip.frames) - 1)] if strip else None
    values: dict[str, Any] = {
        "run": run,
        "version": version,
        "files": files,
        "root": tree_of(files),
        "strip": strip,
        "file": frame.file if frame else file,
        "opened": _opened(folder, "images/" if strip else file.path if file else ""),
        "most": MAX_ALL_ENTRIES if everything else MAX_ENTRIES,
        "everything": everything,
        "max_entries": MAX_ALL_ENTRIES,
        "url_of": lambda each, download=False: file_url(run_id, each, download),
    }
    if wants_fragment(request):
        return parts.templates.fragment(request, "_files_tree.html", **values)
    values |= _strip_values(run_id, strip, frame) if strip and frame else {"number": 0, "thumbnails": [], "data": None}
    values |= {
        "preview": _preview(parts.settings, file) if file and not strip else None,
        "kind": kind_of,
        "sources": SOURCES,
    }
    page = parts.templates.page(request, "files.html", **values)
    page.headers["content-security-policy"] = f"{POLICY}; media-src 'self'"
    return page


def _strip(strips: dict[str, Strip], key: str) -> Strip | None:
    if key and key not in strips:
        raise NotFound(f"this run has no images of '{key[:100]}'")
    return strips.get(key)


def _first(files: list[StoredFile]) -> StoredFile | None:
    """What is shown at first: the first file that can be previewed, at the top of the tree if there is one."""
    order = sorted(files, key=lambda file: ("/" in file.path, file.source in ("checkpoint", "predictions", "export")))
    return order[0] if order else None


def _opened(folder: str, chosen: str) -> set[str]:
    """The folders that are open in the tree: this one and that of what is chosen, with those around them."""
    steps = [folder.split("/"), chosen.split("/")[:-1]]
    return {"/".join(each[:end]) for each in steps for end in range(1, len(each) + 1)} - {""}


def _strip_values(run_id: str, strip: Strip, frame: Frame) -> dict[str, Any]:
    number = strip.frames.index(frame)
    # Around the image that is shown.
    first = max(0, min(number - MAX_THUMBNAILS // 2, len(strip.frames) - MAX_THUMBNAILS))
    return {
        "number": number,
        "thumbnails": list(enumerate(strip.frames))[first : first + MAX_THUMBNAILS],
        "data": [
            # As text: a browser's numbers have 53 bits.
            [str(each.step), each.timestamp, file_url(run_id, each.file), file_url(run_id, each.file, download=True)]
            for each in strip.frames
        ],
    }


def _preview(settings: Settings, file: StoredFile) -> Preview:
    """What is shown of a file; a note if it is gone."""
    try:
        if kind_of(file.path) == "parquet":
            if (file.size or 0) > PARQUET_BYTES:
                return Preview("parquet", note=f"It is larger than {PARQUET_BYTES // 2**20} MiB and not opened here.")
            with seekable(settings, file) as opened:
                return parquet_head(opened)
        if not needs_head(file.path):
            return preview_of(file.path)
        head = b"".join(open_file(settings, file, most=HEAD_BYTES + 1))
    except NotFound as error:
        return Preview("other", note=error.sentence)
    return preview_of(file.path, head[:HEAD_BYTES], len(head) <= HEAD_BYTES)
