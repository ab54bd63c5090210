"""Keeps what a run predicts: for each validation image after every epoch, and at the end for those of the test too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Literal, Self

import numpy as np
import torch
from torch import Tensor

from app.contract.events import PredictionsKept
from app.contract.predictions import FILE, Header, HeadPredictions, History, Predictions, history_file
from worker.job import Job
from worker.reporting.reporter import Reporter
from worker.training.checkpoint_file import State, Store
from worker.training.module import Classifier
from worker.training.scored import Answer, Scored

CHUNK_SECONDS: Final = 5.0
"""Shortest interval between two history files; the epochs in between are in the checkpoints to resume from."""
MAX_HISTORY_BYTES: Final = 64 * 2**20
"""What the history of one run may take; longer runs keep every second epoch, or every fourth, …"""

Submit = Callable[[Callable[[], None]], None]


class PredictionKeeper:
    """Collects the history of one attempt at a run, and writes files in the order of training.

    As a context, it writes at the end what is in no file yet. submit: runs a job in the thread that writes checkpoints,
    after those submitted before.
    """

    def __init__(self, job: Job, store: Store, module: Classifier, reporter: Reporter, submit: Submit) -> None:
        self._run, self._fence = job.run, job.fence
        self._is_fork = job.resume is not None and job.resume.path.startswith(f"{job.run}/0/")
        self._store = store
        self._module = module
        self._reporter = reporter
        self._submit = submit
        self._on = module.config.keep_predictions
        self._epochs: list[int] = []
        self._answers: list[dict[str, Answer]] = []
        self._best: Scored | None = None
        self._stored_at = time.monotonic()
        self._told_stride = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """Write the epochs that are in no file yet."""
        self._write_history()

    # While it trains -------------------------------------------------------------------------------------------------

    def after_validation(self, improved: bool) -> None:
        """Take in the predictions of the epoch that has just been validated."""
        module, scored = self._module, self._module.scored
        if scored is None:
            return
        if improved:
            self._best = scored
        epoch = module.position.epoch
        answers = scored.answers()
        size = sum(answer.predicted.nbytes + answer.confidence.nbytes for answer in answers.values())
        if epoch % self._stride(size) and not improved:
            return
        self._epochs.append(epoch)
        self._answers.append(answers)
        if time.monotonic() - self._stored_at >= CHUNK_SECONDS:
            self._write_history()

    def _stride(self, size: int) -> int:
        """1 if every epoch is kept, of ``size`` bytes each; a power of 2."""
        stride = 1
        while self._module.course.epochs * size > stride * MAX_HISTORY_BYTES:
            stride *= 2
        if stride > self._told_stride:
            self._told_stride = stride
            self._reporter.log(
                f"keeping the predictions of one in {stride} epochs, and of those that are the best so far: each takes"
                f" {size / 1e6:.3g} MB"
            )
        return stride

    def waiting(self) -> dict[str, Tensor]:
        """The epochs that are in no file yet, for the checkpoint to resume from; empty if there are none."""
        history = self._history()
        if history is None:
            return {}
        tensors = {"epochs": torch.from_numpy(history.epochs)}
        for head, predicted in history.predicted.items():
            tensors[f"{head}/predicted"] = torch.from_numpy(predicted)
            tensors[f"{head}/confidence"] = torch.from_numpy(history.confidence[head])
        return tensors

    def restore(self, state: State) -> None:
        """Take over the epochs that were in no file when ``state`` was saved.

        Not in a fork: the server has put what belongs to it into a file of its own.
        """
        saved = {name: value.numpy() for name, value in state.history.items()}
        heads = self._module.config.targets
        count = self._module.data.size("validation")
        fits = all(name in saved and saved[name].shape[1:] == (count,) for head in heads for name in _names(head))
        if not self._on or self._is_fork or "epochs" not in saved or not fits:
            return
        self._epochs = saved["epochs"].tolist()
        self._answers = [
            {head: Answer(*(saved[name][row] for name in _names(head))) for head in heads}
            for row in range(len(self._epochs))
        ]

    def _history(self) -> History | None:
        if not self._epochs:
            return None
        heads = list(self._answers[0])
        return History(
            np.array(self._epochs, np.int32),
            {head: np.stack([answers[head].predicted for answers in self._answers]) for head in heads},
            {head: np.stack([answers[head].confidence for answers in self._answers]) for head in heads},
        )

    def _write_history(self) -> None:
        history = self._history()
        if history is None:
            return
        self._stored_at = time.monotonic()
        self._epochs, self._answers = [], []
        at = self._module.position
        content = Predictions(self._header("", int(history.epochs[-1]), at.step), {}, history)
        path = f"{self._run}/{self._fence}/{history_file(int(history.epochs[0]))}"
        self._submit(lambda: self._put(path, "history", content))

    # At the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write the one file of the whole run: after the test, when the best weights are in the tested network.

        Raises Stopped, if the validation images have to be predicted again: the best epoch was another attempt's.
        """
        module = self._module
        if module.scored is None:
            return
        test = module.scored
        best, at = module.best, module.position
        validation = self._best if self._best is not None else module.predict_validation()
        own = self._history()
        self._epochs, self._answers = [], []
        epoch, step = (best.epoch, best.step) if best.path else (at.epoch, at.step)
        header = self._header(best.path, epoch, step)
        last = at.epoch

        def write() -> None:
            parts = {"validation": validation.predictions(), "test": test.predictions()}
            self._write_final(header, parts, own, last)

        self._submit(write)

    def _write_final(
        self, header: Header, parts: dict[str, dict[str, HeadPredictions]], own: History | None, last: int
    ) -> None:
        chunks = self._files("history-*.safetensors")
        histories = [each for each in map(self._read_history, chunks) if each is not None]
        whole = History.merged([*histories, *([own] if own else [])])
        path = f"{self._run}/{self._fence}/{FILE}"
        others = [other for other in self._files(FILE) if other != path]
        self._put(path, "final", Predictions(header, parts, None if whole is None else whole.until(last)))
        for other in (*chunks, *others):
            self._store.remove(other)

    def _files(self, name: str) -> list[str]:
        """The files with this name of all attempts, in the order of training."""
        found = self._store.find(f"{self._run}/*/{name}")
        return sorted(found, key=lambda path: (int(path.split("/")[-2]), _first_epoch(path)))

    def _read_history(self, path: str) -> History | None:
        history = Predictions.from_bytes(self._store.read(path)).history
        count = self._module.data.size("validation")
        heads = self._module.config.targets
        # A fork's own dataset may have been imported again since, with other images.
        fits = history is not None and all(
            head in history.predicted and history.predicted[head].shape[1] == count for head in heads
        )
        return history if fits else None

    def _header(self, checkpoint: str, epoch: int, step: int) -> Header:
        module = self._module
        dataset = module.data.dataset
        return Header(
            run=self._run,
            fence=self._fence,
            checkpoint=checkpoint,
            epoch=epoch,
            step=step,
            dataset=dataset.key,
            targets={name: tuple(dataset.target(name).labels) for name in module.config.targets},
            created_at=time.time(),
        )

    def _put(self, path: str, kind: Literal["final", "history"], content: Predictions) -> None:
        data = content.to_bytes()
        self._store.write(path, data)
        header = content.header
        event = PredictionsKept(path=path, kind=kind, epoch=header.epoch, step=header.step, bytes=len(data))
        self._reporter.event("predictions", event)


def _names(head: str) -> tuple[str, str]:
    return f"{head}/predicted", f"{head}/confidence"


def _first_epoch(path: str) -> int:
    digits = path.rsplit("/", 1)[-1].removeprefix("history-").removesuffix(".safetensors")
    return int(digits) if digits.isdecimal() else 0
