"""The files of a run's predictions in the artifact store: of all attempts, in the order of training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

from app.contract.dataset import Dataset
from app.contract.events import PredictionsKept
from app.contract.predictions import FILE, Header, HeadPredictions, History, Predictions, history_file
from worker.training.checkpoint_file import Store


class PredictionFiles:
    """Reads and writes them for one attempt at a run, with the number ``fence``.

    targets: the heads of the network. images: in the validation split; a history of another number is left out.
    """

    def __init__(
        self, store: Store, run: str, fence: int, dataset: Dataset, targets: Sequence[str], images: int
    ) -> None:
        self._store = store
        self._run, self._fence = run, fence
        self._dataset, self._targets, self._images = dataset, tuple(targets), images

    def header(self, checkpoint: str, epoch: int, step: int) -> Header:
        """What is said of predictions that are made now, by ``checkpoint``, if they are all by the same one."""
        targets = {name: tuple(self._dataset.target(name).labels) for name in self._targets}
        return Header(
            run=self._run,
            fence=self._fence,
            checkpoint=checkpoint,
            epoch=epoch,
            step=step,
            dataset=self._dataset.key,
            targets=targets,
            created_at=time.time(),
        )

    def put_history(self, epoch: int, step: int, history: History) -> PredictionsKept:
        """Write a history file."""
        path = f"{self._run}/{self._fence}/{history_file(int(history.epochs[0]))}"
        return self._put(path, "history", Predictions(self.header("", epoch, step), {}, history))

    def put_final(
        self, header: Header, parts: Mapping[str, Mapping[str, HeadPredictions]], history: History | None
    ) -> PredictionsKept:
        """Write the file of the whole run; `remove_others` then removes what it replaces."""
        return self._put(f"{self._run}/{self._fence}/{FILE}", "final", Predictions(header, parts, history))

    def history(self) -> History | None:
        """The history of all attempts."""
        found = [Predictions.from_bytes(self._store.read(path)).history for path in self._paths()]
        return History.merged(history for history in found if history is not None and self._fits(history))

    def remove_others(self, kept: PredictionsKept) -> None:
        """Remove all files but this one."""
        for path in self._paths():
            if path != kept.path:
                self._store.remove(path)

    def _put(self, path: str, kind: Literal["final", "history"], content: Predictions) -> PredictionsKept:
        data = content.to_bytes()
        self._store.write(path, data)
        header = content.header
        return PredictionsKept(path=path, kind=kind, epoch=header.epoch, step=header.step, bytes=len(data))

    def _paths(self) -> list[str]:
        """All files, a final one after the history files of the same attempt."""

        def place(path: str) -> tuple[int, bool, int]:
            _, fence, name = path.rsplit("/", 2)
            final = name == FILE
            return int(fence), final, 0 if final else int(name.removeprefix("history-").removesuffix(".safetensors"))

        return sorted(
            (path for name in (FILE, history_file("*")) for path in self._store.find(f"{self._run}/*/{name}")),
            key=place,
        )

    def _fits(self, history: History) -> bool:
        heads = history.predicted
        return all(name in heads and heads[name].shape[1] == self._images for name in self._targets)
