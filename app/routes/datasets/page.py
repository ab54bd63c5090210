"""/datasets: all datasets and the imports in progress; /datasets/{name}: one dataset with its classes and report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from app.actions.datasets import delete_dataset, find_own, runs_on, use_version, why_not_deletable
from app.contract.builtin_datasets import prepared_file
from app.contract.dataset import Dataset
from app.contract.dataset_import import Part
from app.contract.datasets import DATASETS
from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.own_datasets import OwnDataset
from app.contract.spec import FieldError
from app.routes.datasets.api import get_items
from app.routes.datasets.bars import class_rows
from app.store.database import reading
from app.store.disk_use import disk_use
from app.store.undo import ActRecord, find_act
from app.web.dependencies import Parts, PartsDep
from app.web.redirects import go_back

pages = APIRouter()

SAMPLES = 8
"""Images of a class in a row of samples."""
MAX_SHOWN_CLASSES = 300
READY_SECONDS = 600
"""How long the list of imports shows one that has made its dataset."""
CACHE_SECONDS = 3600
UNCHANGING_SECONDS = 31_536_000
MAX_SHEET = 200
"""Images in one picture."""

Name = Annotated[str, Path(max_length=200)]
Version = Annotated[str, Query(max_length=40)]
BackForm = Annotated[str, Form(max_length=4000)]


@dataclass(frozen=True)
class DatasetRow:
    """A dataset in the list; ``runs``: number of runs on any of its versions; ``drawable``: whether it has samples."""

    dataset: Dataset
    own: OwnDataset | None
    versions: int
    runs: int
    drawable: bool


def _rows(parts: Parts) -> list[DatasetRow]:
    runs = runs_on(parts)
    own = DATASETS.own
    rows = []
    for name, dataset in DATASETS.items():
        versions = own.versions(name) if own and dataset.version else []
        rows.append(
            DatasetRow(
                dataset,
                versions[0] if versions else None,
                len(versions),
                runs.get(name, 0),
                _is_drawable(parts, dataset),
            )
        )
    # The user's own come first: they are what this page is for.
    return sorted(rows, key=lambda row: row.own is None)


def _is_drawable(parts: Parts, dataset: Dataset) -> bool:
    """Whether there are images to show: others are downloaded by the first run that needs them."""
    if dataset.version or dataset.offline:
        return True
    return prepared_file(parts.settings.datasets, dataset.name).exists()


def _imports(parts: Parts) -> dict[str, Any]:
    # What is ready stands in the table below; for a while, it says so here too.
    since = time.time() - READY_SECONDS
    found = parts.imports.every()
    return {"imports": [each for each in found if each.state.status != "ready" or each.state.updated_at > since]}


def list_page(
    request: Request,
    parts: Parts,
    status: int = 200,
    *,
    act: ActRecord | None = None,
    undone: ActRecord | None = None,
    wrong: str = "",
) -> HTMLResponse:
    """Render the list of datasets. ``act``, ``undone``: what can be undone, and what was; ``wrong``: with the form."""
    values = {"rows": _rows(parts), "act": act, "undone": undone, "wrong": wrong} | _imports(parts)
    with reading(parts.engine) as connection:
        values |= {"disk": disk_use(connection), "trash_days": parts.settings.trash_days}
    return parts.templates.page(request, "datasets.html", status, **values)


@pages.get("/datasets")
def datasets_page(
    request: Request,
    parts: PartsDep,
    act: Annotated[str, Query(max_length=60)] = "",
    undone: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Show all datasets, the imports in progress, and where to drop more images."""
    with reading(parts.engine) as connection:
        deleted = find_act(connection, act) if act else None
        restored = find_act(connection, undone) if undone else None
    return list_page(request, parts, act=deleted, undone=restored)


@pages.get("/datasets/imports")
def imports_fragment(request: Request, parts: PartsDep) -> Response:
    """Render the imports in progress; the whole page without a script."""
    if "hx-request" not in request.headers:
        return RedirectResponse("/datasets", 303)
    return parts.templates.fragment(request, "_datasets_imports.html", **_imports(parts))


@pages.get("/datasets/{name}")
def dataset_page(
    request: Request,
    name: Name,
    parts: PartsDep,
    version: Version = "",
    refused: Annotated[str, Query(max_length=20)] = "",
) -> HTMLResponse:
    """Show a dataset: its classes with samples, import findings, its versions and its runs.

    ``refused``: "delete" after it could not be deleted; says why, while that holds.
    """
    key = f"{name}@{version}" if version else name
    dataset = DATASETS.get(key)
    if dataset is None:
        raise NotFound(f"no dataset '{key[:80]}'; datasets: {', '.join(DATASETS)}")
    own = DATASETS.own.get(name, version) if DATASETS.own and dataset.version else None
    report = own.report if own else None
    labels = dataset.targets[0].labels
    return parts.templates.page(
        request,
        "dataset.html",
        dataset=dataset,
        own=own,
        report=report,
        versions=DATASETS.own.versions(name) if DATASETS.own and own else [],
        classes=class_rows(report.classes, report.near_empty)[:MAX_SHOWN_CLASSES] if report else [],
        labels=labels[:MAX_SHOWN_CLASSES],
        hidden=max(0, len(labels) - MAX_SHOWN_CLASSES),
        runs=runs_on(parts).get(name, 0),
        samples=SAMPLES,
        drawable=_is_drawable(parts, dataset),
        refused=why_not_deletable(parts, name) if own and refused == "delete" else "",
    )


@pages.get("/datasets/{name}/samples.png")
async def samples_png(
    name: Name, parts: PartsDep, label: Annotated[int, Query(ge=0, lt=1_000_000)], version: Version = ""
) -> Response:
    """A row of training images of one class."""
    return _png(await parts.samples.of_class(_key(name, version), label, SAMPLES))


@pages.get("/datasets/{name}/image.png")
async def image_png(
    name: Name, parts: PartsDep, part: Part, index: Annotated[int, Query(ge=0, lt=2**40)], version: Version = ""
) -> Response:
    """One image of a dataset."""
    return _png(await parts.samples.of_image(_key(name, version), part, index))


@pages.get("/datasets/{name}/sheet.png")
async def sheet_png(
    name: Name,
    parts: PartsDep,
    part: Part,
    indices: Annotated[str, Query(max_length=4000, pattern=r"^\d{1,9}(,\d{1,9})*$")],
    version: Version = "",
) -> Response:
    """Several images of a dataset in one picture, ten in a row."""
    chosen = [int(index) for index in indices.split(",")]
    if len(chosen) > MAX_SHEET:
        error = f"at most {MAX_SHEET} images in one picture"
        raise Invalid(error, [FieldError("indices", error)])
    # A version never changes; what a name alone stands for may.
    return _png(await parts.samples.of_images(_key(name, version), part, chosen), unchanging=bool(version))


def _key(name: str, version: str) -> str:
    dataset = DATASETS.get(f"{name}@{version}" if version else name)
    if dataset is None:
        raise NotFound(f"no dataset '{name[:40]}'")
    return dataset.key


def _png(picture: bytes, unchanging: bool = False) -> Response:
    kept = f"private, max-age={UNCHANGING_SECONDS}, immutable" if unchanging else f"private, max-age={CACHE_SECONDS}"
    return Response(picture, media_type="image/png", headers={"Cache-Control": kept})


@pages.get("/datasets/{name}/items.csv")
def items_csv(name: Name, parts: PartsDep, version: Version = "") -> StreamingResponse:
    """Download the split as CSV."""
    return get_items(name, parts, version)


@pages.post("/datasets/{name}/delete")
def delete(name: Name, parts: PartsDep, version: Annotated[str, Form(max_length=40)] = "") -> RedirectResponse:
    """Move a dataset to the trash; back to the page of this version, which says why, if a run needs the dataset."""
    find_own(name)
    try:
        act = delete_dataset(parts, name)
    except Conflict:
        page = f"/datasets/{quote(name)}" + (f"?version={quote(version)}" if version else "")
        return go_back(page, "/datasets", refused="delete")
    return go_back("/datasets", "/datasets", act=act)


@pages.post("/datasets/{name}/use")
def use(name: Name, parts: PartsDep, version: Annotated[str, Form(max_length=40)]) -> RedirectResponse:
    """Use a version where none is given."""
    use_version(parts, name, version)
    return RedirectResponse(f"/datasets/{name}", 303)
