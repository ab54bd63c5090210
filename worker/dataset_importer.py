"""Runs the imports of datasets that wait for this machine, one process after the other."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from app.contract.dataset_import import CANCEL, CHOICES, ENDED, REQUEST, STATE, ChoicesMade, ImportRequest, ImportState
from worker.lock import try_lock

logger = logging.getLogger("runyard.worker")

COMMAND = (sys.executable, "-m", "worker.data.importing")
LOOK_SECONDS = 0.3
"""How often to look for work: a look at a few small files."""
MAX_DEATHS = 3
"""An import fails after its process has been killed this often; a single death may have been anything."""
END_SECONDS = 10.0

Model = TypeVar("Model", bound=BaseModel)


class DatasetImporter:
    """Looks for imports in a folder of datasets until it is stopped.

    Only one process reads images at a time, since it uses all cores. Several workers that share a folder share the
    imports: an import's process holds a lock. command: of that process, before the folder and the id.
    """

    def __init__(self, datasets: Path, stopping: threading.Event, command: Sequence[str] = COMMAND) -> None:
        self._command = tuple(command)
        self._datasets = datasets
        self._stopping = stopping
        self._deaths: dict[str, int] = {}

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopping.is_set():
            number = self._next()
            if number is None:
                self._stopping.wait(LOOK_SECONDS)
            else:
                self._import(number)

    def _next(self) -> str | None:
        """The oldest import for which there is something to do and that no process works on."""
        waiting: list[tuple[float, str]] = []
        try:
            folders = [folder for folder in (self._datasets / "imports").iterdir() if (folder / REQUEST).exists()]
        except FileNotFoundError:
            return None
        for folder in folders:
            request = _read(folder / REQUEST, ImportRequest)
            if request is not None and _has_work(folder) and _is_free(folder):
                waiting.append((request.created_at, request.id))
        return min(waiting)[1] if waiting else None

    def _import(self, number: str) -> None:
        logger.info("importing the images of %s", number)
        process = subprocess.Popen(
            [*self._command, str(self._datasets), number],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None:
            if self._stopping.wait(LOOK_SECONDS):
                # It goes on when the next worker starts.
                process.terminate()
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                return
        if process.returncode == 0:
            self._deaths.pop(number, None)
            return
        self._deaths[number] = self._deaths.get(number, 0) + 1
        logger.error("the process that imports %s exited with status %s", number, process.returncode)
        if self._deaths[number] >= MAX_DEATHS:
            self._give_up(number, process.returncode)

    def _give_up(self, number: str, status: int) -> None:
        folder = self._datasets / "imports" / number
        reason = f"reading the images failed {MAX_DEATHS} times (exit status {status}); see the worker's log"
        state = ImportState(status="failed", reason=reason, updated_at=time.time())
        fresh = folder / f".{STATE}.{os.getpid()}.new"
        fresh.write_text(state.model_dump_json())
        os.replace(fresh, folder / STATE)


def _has_work(folder: Path) -> bool:
    state = _read(folder / STATE, ImportState) or ImportState(status="waiting")
    if state.status in ENDED:
        return False
    if state.status != "preview" or (folder / CANCEL).exists():
        return True
    made = _read(folder / CHOICES, ChoicesMade)
    return made is not None and (made.keep or made.number > state.shown)


def _is_free(folder: Path) -> bool:
    try:
        with (folder / "lock").open("a") as file:
            return try_lock(file)
    except FileNotFoundError:
        return False


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
