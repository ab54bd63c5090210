"""The folder of one import: its files, its lock, and the state that the user sees."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from app.contract.dataset_import import ENDED, ChoicesMade, ImportRequest, ImportState, Report, Status
from worker.data.importing.errors import ImportCancelled, ImportFailed
from worker.lock import try_lock

REPORT_SECONDS: Final = 0.2
"""Least time between two reports of progress."""


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file so that a reader sees the old or the new content; if durable, after a power failure too."""
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(unfinished, path)


def remove(path: Path) -> None:
    """Delete a file, a link or a whole folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class ImportFolder:
    """Reads and writes the files of an import. Raises OSError where they cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.draft = path / "draft"
        self.upload = path / "upload"
        self._state = ImportState(status="waiting")
        self._written = -REPORT_SECONDS

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the import's lock; yields whether it could be taken."""
        with (self.path / "lock").open("a") as file:
            yield try_lock(file)

    def request(self) -> ImportRequest | None:
        """What to import; None if its upload was broken off. Raises ImportFailed."""
        try:
            return ImportRequest.model_validate_json((self.path / "request.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ImportFailed("the request of this import cannot be read") from error

    def choices(self, request: ImportRequest) -> ChoicesMade:
        """The user's latest choices; by default those of the request. Raises ImportFailed."""
        try:
            made = ChoicesMade.model_validate_json((self.path / "choices.json").read_bytes())
        except FileNotFoundError:
            return ChoicesMade(number=0, choices=request.choices, keep=request.keep)
        except ValidationError as error:
            raise ImportFailed("the choices made for this import cannot be read") from error
        return made.model_copy(update={"keep": made.keep or request.keep})

    def refuse(self, made: ChoicesMade) -> None:
        """Take back that these choices shall be kept, unless others were made meanwhile."""
        path = self.path / "choices.json"
        if ChoicesMade.model_validate_json(path.read_bytes()) == made:
            write_atomically(path, made.model_copy(update={"keep": False}).model_dump_json().encode())

    def cancelled(self) -> bool:
        """Whether the user has cancelled."""
        return (self.path / "cancel").exists()

    def state(self) -> ImportState:
        """The last state that was written, "waiting" before the first."""
        try:
            self._state = ImportState.model_validate_json((self.path / "state.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            self._state = ImportState(status="waiting")
        return self._state

    def begin(self, status: Status, task: str, total: int = 0, *, shown: int | None = None) -> None:
        """Report a new task at once. Raises ImportCancelled."""
        update = {"status": status, "task": task, "done": 0, "total": total}
        self.write(self._state.model_copy(update=update | ({} if shown is None else {"shown": shown})))
        if self.cancelled():
            raise ImportCancelled

    def tick(self, done: int | None = None) -> None:
        """Report progress, if enough time has passed since the last report. Raises ImportCancelled."""
        if time.monotonic() < self._written + REPORT_SECONDS:
            return
        if self.cancelled():
            raise ImportCancelled
        self.write(self._state if done is None else self._state.model_copy(update={"done": done}))

    def write(self, state: ImportState) -> ImportState:
        """Write a state, with the time."""
        self._state = state.model_copy(update={"updated_at": time.time()})
        self._written = time.monotonic()
        content = self._state.model_dump_json().encode()
        write_atomically(self.path / "state.json", content, durable=state.status in ENDED)
        return self._state

    def write_report(self, report: Report) -> None:
        """Write the report."""
        content = json.dumps(report.model_dump(mode="json"), ensure_ascii=False)
        write_atomically(self.path / "report.json", content.encode())

    def remove_files(self) -> None:
        """Delete the draft and what was uploaded."""
        remove(self.draft)
        remove(self.upload)
