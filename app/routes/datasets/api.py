"""/api/v1/datasets: list, import, show, export and delete datasets; /api/v1/dataset-imports: follow an import."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from app.actions.datasets import delete_dataset, find_own, restore_deleted, use_version
from app.contract.dataset import Dataset
from app.contract.dataset_import import Choices, Report, Status
from app.contract.datasets import DATASETS
from app.contract.errors import NotFound
from app.contract.own_datasets import ITEMS, OwnDataset, version_folder
from app.formats.csv_cells import copied
from app.services.dataset_imports import DatasetImport
from app.web.dependencies import Parts, PartsDep

api = APIRouter(tags=["datasets"])

Name = Annotated[str, Path(max_length=200)]
FORM = {
    "schema": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "Name of the dataset."},
            "file": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "description": "An archive or a table; or all images, with their folders in the file names.",
            },
            "path": {
                "type": "string",
                "description": "A path on the server's machine, in a folder of RUNYARD_IMPORT_PATHS.",
            },
            "options": {"type": "string", "description": 'Choices as JSON, such as {"side": 64}.'},
            "keep": {"type": "boolean", "default": True, "description": "false: show a preview, wait for choices."},
        },
    }
}
"""The request body of an import, which is read while it arrives."""
ImportId = Annotated[str, Path(max_length=60)]


class TargetOut(BaseModel):
    name: str
    classes: int
    weight: float
    labels: list[str]


class DatasetOut(BaseModel):
    """A dataset: images of ``channels`` × ``side`` × ``side``; number of images in its three splits.

    ``own``: whether a user imported it; only then it has a ``version``.
    """

    name: str
    title: str
    channels: int
    side: int
    targets: list[TargetOut]
    train: int
    validation: int
    test: int
    source: str
    offline: bool
    megabytes: float
    own: bool
    version: str


class DatasetsOut(BaseModel):
    datasets: list[DatasetOut]


class VersionOut(BaseModel):
    """A version of an imported dataset; ``bytes``: on disk; ``created_at``: seconds since 1970."""

    version: str
    created_at: float
    bytes: int
    channels: int
    side: int
    classes: list[str]
    images: dict[str, int]
    source: str
    source_sha256: str
    choices: Choices


class DatasetImportOut(BaseModel):
    """An import of images: ``done`` of ``total`` of what ``task`` says; ``reason``: why it failed."""

    id: str
    name: str
    status: Status
    task: str
    done: int
    total: int
    reason: str
    version: str
    url: str


class DatasetDetails(BaseModel):
    """A dataset by name. ``status`` "ready": it can be used; else the import of its first version goes on, or failed.

    ``versions``: of an imported dataset, the one in use first. ``report``: what the import found.
    """

    name: str
    status: Status
    reason: str
    dataset: DatasetOut | None
    versions: list[VersionOut]
    imports: list[DatasetImportOut]
    report: Report | None
    url: str


class UseIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: str


class ChoicesIn(BaseModel):
    """Choices for an import that shows its preview; ``keep`` makes the dataset of them."""

    model_config = ConfigDict(extra="forbid")

    choices: Choices
    keep: bool = False


def dataset_out(dataset: Dataset) -> DatasetOut:
    """A dataset as the API shows it."""
    return DatasetOut(
        name=dataset.name,
        title=dataset.title,
        channels=dataset.channels,
        side=dataset.side,
        targets=[
            TargetOut(name=target.name, classes=target.classes, weight=target.weight, labels=list(target.labels))
            for target in dataset.targets
        ],
        train=dataset.train,
        validation=dataset.validation,
        test=dataset.test,
        source=dataset.source,
        offline=dataset.offline,
        megabytes=dataset.megabytes,
        own=bool(dataset.version),
        version=dataset.version,
    )


def import_out(found: DatasetImport) -> DatasetImportOut:
    """An import as the API shows it."""
    state = found.state
    return DatasetImportOut(
        id=found.id,
        name=found.request.name,
        status="reading" if found.reading else state.status,
        task=state.task,
        done=state.done,
        total=state.total,
        reason=state.reason,
        version=state.version,
        url=f"/datasets/imports/{found.id}",
    )


@api.get("/datasets")
def get_datasets() -> DatasetsOut:
    """List all datasets with their targets."""
    return DatasetsOut(datasets=[dataset_out(dataset) for dataset in DATASETS.values()])


@api.post("/datasets", status_code=202, openapi_extra={"requestBody": {"content": {"multipart/form-data": FORM}}})
async def post_dataset(request: Request, parts: PartsDep) -> DatasetImportOut:
    """Import images as a dataset: an archive, a table, or the files of a folder. Responds after the upload."""
    started = await parts.imports.receive(request)
    return import_out(await run_in_threadpool(parts.imports.find, started.id))


@api.get("/datasets/{name}")
def get_dataset(name: Name, parts: PartsDep, version: Annotated[str, Query(max_length=40)] = "") -> DatasetDetails:
    """Show a dataset, its versions and the imports of its name; by default the version in use, else NAME@VERSION."""
    name, _, named = name.partition("@")
    return _details(parts, name, version or named)


def _details(parts: Parts, name: str, version: str) -> DatasetDetails:
    imports = [each for each in parts.imports.every() if each.request.name == name]
    key = f"{name}@{version}" if version else name
    dataset = DATASETS.get(key)
    own = DATASETS.own
    versions = own.versions(name) if own and name not in DATASETS.builtin else []
    # What an import made, and is not there any more, was deleted.
    going_on = bool(imports) and imports[0].state.status != "ready"
    if dataset is None and (version or not going_on):
        raise NotFound(f"no dataset '{key[:80]}'; datasets: {', '.join(DATASETS)}")
    newest = import_out(imports[0]) if imports else None
    shown = own.get(name, version) if own and versions else None
    return DatasetDetails(
        name=name,
        status="ready" if dataset else newest.status if newest else "failed",
        reason="" if dataset or newest is None else newest.reason,
        dataset=dataset_out(dataset) if dataset else None,
        versions=[_version_out(each) for each in versions],
        imports=[import_out(each) for each in imports],
        report=shown.report if shown else parts.imports.report(imports[0].id) if imports else None,
        url=f"/datasets/{name}" + (f"?version={version}" if version else "")
        if dataset
        else f"/datasets/imports/{imports[0].id}",
    )


def _version_out(own: OwnDataset) -> VersionOut:
    return VersionOut(
        version=own.version,
        created_at=own.created_at,
        bytes=own.bytes,
        channels=own.channels,
        side=own.side,
        classes=list(own.classes),
        images=dict(own.images.items()),
        source=own.source,
        source_sha256=own.source_sha256,
        choices=own.choices,
    )


@api.get("/datasets/{name}/items.csv", response_class=StreamingResponse)
def get_items(name: Name, parts: PartsDep, version: Annotated[str, Query(max_length=40)] = "") -> StreamingResponse:
    """Export the splits of an imported dataset as CSV: split, index, label and path of each image."""
    own = find_own(name, version)
    file = version_folder(parts.settings.datasets, name, own.version) / ITEMS
    headers = {"content-disposition": f'attachment; filename="{name}-{own.version}.csv"'}
    return StreamingResponse(copied(file), media_type="text/csv; charset=utf-8", headers=headers)


@api.post("/datasets/{name}/use")
def post_use(name: Name, used: UseIn, parts: PartsDep) -> DatasetDetails:
    """Make a version of an imported dataset the one in use."""
    use_version(parts, name, used.version)
    return _details(parts, name, "")


@api.delete("/datasets/{name}", status_code=204)
def delete(name: Name, parts: PartsDep) -> None:
    """Move an imported dataset with all its versions to the trash; refused while a run that has not ended uses it."""
    delete_dataset(parts, name)


@api.post("/datasets/{name}/restore")
def restore(name: Name, parts: PartsDep) -> DatasetDetails:
    """Restore the imported dataset with this name that was deleted last."""
    restore_deleted(parts, name)
    return _details(parts, name, "")


@api.get("/dataset-imports/{number}")
def get_import(number: ImportId, parts: PartsDep) -> DatasetImportOut:
    """Get the progress of an import."""
    return import_out(parts.imports.find(number))


@api.get("/dataset-imports/{number}/report")
def get_report(number: ImportId, parts: PartsDep) -> Report:
    """Show what an import found in its source."""
    parts.imports.find(number)
    report = parts.imports.report(number)
    if report is None:
        raise NotFound("there is no report yet: the images have not been read")
    return report


@api.post("/dataset-imports/{number}/choices")
def post_choices(number: ImportId, made: ChoicesIn, parts: PartsDep) -> DatasetImportOut:
    """Change the choices of an import in preview, or create the dataset."""
    return import_out(parts.imports.choose(number, made.choices, made.keep))


@api.delete("/dataset-imports/{number}")
def delete_import(number: ImportId, parts: PartsDep) -> DatasetImportOut:
    """Cancel an import; one that has ended is removed from the list. A dataset that it created stays."""
    return import_out(parts.imports.cancel(number))
