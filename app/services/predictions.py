"""Reads kept predictions of runs from the artifact store, and keeps the newest ones in memory."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from sqlalchemy import Engine

from app.contract.events import PredictionsKept
from app.contract.predictions import History, Predictions, history_file
from app.contract.settings import Settings
from app.services import artifacts
from app.store.database import reading
from app.store.prediction_file import KeptFile, kept_files

logger = logging.getLogger("runyard.predictions")

MAX_BYTES: Final = 256 * 2**20
"""Bytes of predictions that are kept in memory, and at least the newest file."""


class PredictionStore:
    """The kept predictions of all runs; called from any thread."""

    def __init__(self, settings: Settings, engine: Engine, most_bytes: int = MAX_BYTES) -> None:
        self._settings = settings
        self._engine = engine
        self._most = most_bytes
        self._lock = threading.Lock()
        self._read: OrderedDict[tuple[KeptFile, ...], tuple[Predictions, int]] = OrderedDict()

    def load(self, run_id: str) -> Predictions | None:
        """The predictions of a run; while it trains, only the history so far. None if none are kept.

        The same object is returned to all callers: nobody changes its arrays.
        """
        with reading(self._engine) as connection:
            files = kept_files(connection, run_id)
        finals = [file for file in files if file.kind == "final"]
        key = tuple(finals[-1:] or files)
        if not key:
            return None
        with self._lock:
            if key in self._read:
                self._read.move_to_end(key)
                return self._read[key][0]
        found = self._from_files(key)
        if found is not None:
            self._remember(key, found)
        return found

    def inherit(self, parent: str, run_id: str, epoch: int) -> PredictionsKept | None:
        """Copy the history of ``parent`` up to ``epoch`` for a run that goes on from there; None if there is none."""
        found = self.load(parent)
        history = None if found is None or found.history is None else found.history.until(epoch)
        if found is None or history is None or not len(history.epochs):
            return None
        known = {head: kept.labels for head, kept in found.parts.get("validation", {}).items()}
        history = replace(history, labels=history.labels or known)
        path = f"{run_id}/0/{history_file(1)}"
        header = found.header.model_copy(
            update={"run": run_id, "fence": 0, "checkpoint": "", "epoch": int(history.epochs[-1])}
        )
        content = Predictions(header, {}, history).to_bytes()
        artifacts.write(self._settings, path, content)
        return PredictionsKept(path=path, kind="history", epoch=header.epoch, step=header.step, bytes=len(content))

    def version(self, run_id: str) -> str:
        """A text that changes whenever other predictions of the run are kept; "" if there are none."""
        with reading(self._engine) as connection:
            files = kept_files(connection, run_id)
        return f"{files[-1].path} {files[-1].created_at}" if files else ""

    def bytes_of(self, run_id: str) -> int:
        """What the files of a run take in the artifact store."""
        with reading(self._engine) as connection:
            return sum(file.bytes for file in kept_files(connection, run_id))

    def _from_files(self, files: tuple[KeptFile, ...]) -> Predictions | None:
        found = [each for each in map(self._from_file, files) if each is not None]
        if not found:
            return None
        if files[-1].kind == "final":
            return found[-1]
        history = History.merged(each.history for each in found if each.history is not None)
        return Predictions(found[-1].header, {}, history)

    def _from_file(self, file: KeptFile) -> Predictions | None:
        try:
            return Predictions.from_bytes(artifacts.read(self._settings, file.path))
        except FileNotFoundError:
            # Its trainer has just merged it into another one, which the recorder will report.
            return None
        except ValueError as error:
            logger.warning("%s: %s", file.path, error)
            return None

    def _remember(self, key: tuple[KeptFile, ...], found: Predictions) -> None:
        with self._lock:
            # The history of a run that trains grows: what was read before is of no use any more.
            for old in [each for each in self._read if each[0].path == key[0].path]:
                del self._read[old]
            self._read[key] = found, size_of(found)
            while len(self._read) > 1 and sum(size for _, size in self._read.values()) > self._most:
                self._read.popitem(last=False)


def size_of(predictions: Predictions) -> int:
    """Bytes of all arrays."""
    heads = [head for part in predictions.parts.values() for head in part.values()]
    arrays = [array for head in heads for array in (head.labels, head.true, head.probabilities, head.classes)]
    if predictions.history is not None:
        arrays += [*predictions.history.predicted.values(), *predictions.history.confidence.values()]
        arrays += predictions.history.labels.values()
    return sum(array.nbytes for array in arrays if array is not None)
