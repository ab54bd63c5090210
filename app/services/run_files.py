"""All files of a run, whoever wrote them: its script, its trainer, a job on its network; or what is recorded of it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, Literal

from pydantic_core import to_json
from sqlalchemy import Connection

from app.contract.errors import NotFound
from app.contract.events import Checkpoint
from app.contract.model_jobs import EXPORTS
from app.contract.settings import Settings
from app.services import artifacts
from app.services.exports import exports_of
from app.store.lineage import read_capture, saved_checkpoints
from app.store.log import lines_beginning_with
from app.store.prediction_file import kept_files
from app.store.run import RunRecord
from app.store.run_file import FileRecord, file_totals, find_file, list_files

Source = Literal["script", "checkpoint", "predictions", "export", "record"]

TUNING_LINES: Final = 100
FOLDER: Final = "files"
"""The folder of what scripts logged, in a run's folder of the artifact store."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a run. ``stored``: its path in the artifact store; ``content`` of what is only in the database.

    ``size``: in bytes; None if an earlier version of Runyard did not record it. ``created_at``: seconds since 1970.
    """

    path: str
    source: Source
    size: int | None
    created_at: float | None
    stored: str = ""
    content: bytes = b""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def version(self) -> str:
        """What changes with its content; blank if nothing does that is known."""
        return self.stored.rpartition("/")[2] if self.source == "script" else ""


def key_path(run_id: str, key: str) -> str:
    """Where the artifact store has a content that a script logged."""
    return f"{run_id}/{FOLDER}/{key}"


def files_of(connection: Connection, run: RunRecord) -> list[StoredFile]:
    """The files of a run by path: what its script logged, or what Runyard wrote when it trained the run."""
    if run.logged:
        return [logged_file(run.id, file) for file in list_files(connection, run.id)]
    found = [*_checkpoints(connection, run), *_predictions(connection, run), *_exports(connection, run)]
    return sorted([*found, *_records(connection, run)], key=lambda file: file.path)


def logged_file(run_id: str, file: FileRecord) -> StoredFile:
    """A file that a script logged."""
    return StoredFile(file.path, "script", file.bytes, file.created_at, key_path(run_id, file.key))


def load_file(connection: Connection, run: RunRecord, path: str) -> StoredFile:
    """The file with this path, without a look at all others. Raises NotFound."""
    if not run.logged:
        return find_in(files_of(connection, run), path)
    record = find_file(connection, run.id, path)
    return find_in([] if record is None else [logged_file(run.id, record)], path)


def files_version(connection: Connection, run: RunRecord) -> str:
    """What changes with the files of a logged run; blank for a run that was trained here."""
    return file_totals(connection, run.id).version if run.logged else ""


def _checkpoints(connection: Connection, run: RunRecord) -> list[StoredFile]:
    known = [Checkpoint.model_validate_json(each) for each in (run.checkpoint, run.best_checkpoint) if each]
    known += saved_checkpoints(connection, run.id)
    found: dict[str, StoredFile] = {}
    for each in known:
        # A fork's first best checkpoint may be its parent's.
        if each.path.startswith(f"{run.id}/"):
            path = _by_attempt("checkpoints", run.id, each.path)
            found.setdefault(path, StoredFile(path, "checkpoint", each.bytes or None, None, each.path))
    return list(found.values())


def _predictions(connection: Connection, run: RunRecord) -> Iterator[StoredFile]:
    for file in kept_files(connection, run.id):
        path = _by_attempt("predictions", run.id, file.path)
        yield StoredFile(path, "predictions", file.bytes, file.created_at, file.path)


def _by_attempt(folder: str, run_id: str, stored: str) -> str:
    """The path to show: an attempt writes into a folder with its number; 0 is what a run began with."""
    attempt, _, name = stored.removeprefix(f"{run_id}/").partition("/")
    return f"{folder}/{'start' if attempt == '0' else f'attempt-{attempt}'}/{name}"


def _exports(connection: Connection, run: RunRecord) -> Iterator[StoredFile]:
    for each in exports_of(connection, run.id):
        yield StoredFile(
            f"{EXPORTS}/{each.name}", "export", each.bytes, each.made_at, f"{run.id}/{EXPORTS}/{each.name}"
        )


def _records(connection: Connection, run: RunRecord) -> Iterator[StoredFile]:
    environment = dict(run.environment)
    if capture := read_capture(connection, run.id):
        environment |= {"captured": capture}
    for name, value in (
        ("configuration.json", run.config.model_dump()),
        ("environment.json", environment),
        ("tuning.json", _tuning(connection, run)),
    ):
        if value:
            content = to_json(value, indent=2, inf_nan_mode="null") + b"\n"
            yield StoredFile(name, "record", len(content), run.started_at, content=content)


def _tuning(connection: Connection, run: RunRecord) -> dict[str, object]:
    """How a run was trained, and what its trainer logged about the choice; empty before its first attempt."""
    if not run.environment.get("trained_in"):
        return {}
    # Of each attempt: `_tuning` in worker/training/fit.py writes these lines.
    chosen = lines_beginning_with(connection, run.id, "training with ", TUNING_LINES)
    tested = lines_beginning_with(connection, run.id, "tested ", TUNING_LINES)
    return {"trained_in": run.environment["trained_in"], "chosen": chosen, "tested": tested}


def find_in(files: Sequence[StoredFile], path: str) -> StoredFile:
    """The file with this path. Raises NotFound."""
    found = next((file for file in files if file.path == path), None)
    if found is None:
        raise NotFound(f"this run has no file '{path[:100]}'")
    return found


# Contents ------------------------------------------------------------------------------------------------------------


def open_file(settings: Settings, file: StoredFile, first: int = 0, most: int | None = None) -> Iterator[bytes]:
    """The content from byte ``first`` on, at most ``most`` bytes, in chunks. Raises NotFound if it is gone."""
    if not file.stored:
        return iter((file.content[first : None if most is None else first + most],))
    chunks = artifacts.chunks(settings, file.stored, first=first, most=most)
    try:
        begin = next(chunks, b"")
    except FileNotFoundError as error:
        raise _gone(file) from error
    return _joined(begin, chunks)


def _gone(file: StoredFile) -> NotFound:
    reason = "; its run goes on and has written a newer one" if file.source == "checkpoint" else ""
    return NotFound(f"{file.name} is no longer in the artifact store{reason}")


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


@contextmanager
def seekable(settings: Settings, file: StoredFile) -> Iterator[IO[bytes]]:
    """A stored file to seek in. Raises NotFound if it is gone."""
    try:
        with artifacts.reading(settings, file.stored) as opened:
            yield opened
    except FileNotFoundError as error:
        raise _gone(file) from error


class _Sink:
    """What a zip archive is written to: it keeps what has not been sent yet."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing: everything is sent as soon as it is written."""

    def take(self) -> bytes:
        """What was written since the last call."""
        taken, self._written = b"".join(self._written), []
        return taken


def zip_of(settings: Settings, files: Sequence[StoredFile]) -> Iterator[bytes]:
    """A zip archive of files, in chunks, while they are read. What is gone meanwhile is left out."""
    sink: Any = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            try:
                chunks = open_file(settings, file)
            except NotFound:
                continue
            with archive.open(zipfile.ZipInfo(file.path), "w", force_zip64=True) as entry:
                for chunk in chunks:
                    entry.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()
