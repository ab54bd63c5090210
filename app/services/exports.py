"""The exported files of a run: which there are, and their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from app.contract.errors import NotFound
from app.contract.model_jobs import EXPORTS, ExportResult
from app.contract.settings import Settings
from app.services import artifacts
from app.store.model_job import JobRecord, jobs_of


@dataclass(frozen=True)
class Export:
    """One exported file. ``result``: of the job that wrote it, at ``made_at``."""

    name: str
    bytes: int
    result: ExportResult
    made_at: float


def exports_of(connection: Connection, run_id: str) -> list[Export]:
    """The exported files of a run, the newest of each name, newest first."""
    found: dict[str, Export] = {}
    for job in jobs_of(connection, run_id, "export"):
        if job.status == "succeeded":
            result = ExportResult.model_validate(job.result)
            for file in result.files:
                found.setdefault(file.name, Export(file.name, file.bytes, result, job.ended_at or job.created_at))
    return list(found.values())


def newest_jobs(connection: Connection, run_id: str) -> dict[str, JobRecord]:
    """The newest export job of each format, whatever became of it."""
    found: dict[str, JobRecord] = {}
    for job in jobs_of(connection, run_id, "export"):
        found.setdefault(str(job.options["format"]), job)
    return found


def open_export(settings: Settings, run_id: str, export: Export) -> Iterator[bytes]:
    """The content of an exported file, in chunks. Raises NotFound if it is no longer there."""
    chunks = artifacts.chunks(settings, f"{run_id}/{EXPORTS}/{export.name}")
    try:
        first = next(chunks, b"")
    except FileNotFoundError as error:
        raise NotFound(f"{export.name} is no longer in the artifact store; export it again") from error
    return _joined(first, chunks)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
