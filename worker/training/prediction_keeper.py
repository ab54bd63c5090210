"""Keeps what a run predicts: for each validation image after every epoch, and at the end for those of the test too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from app.contract.predictions import Classes, History
from worker.job import Job
from worker.reporting.reporter import Reporter
from worker.training.checkpoint_file import State, Store
from worker.training.module import Classifier
from worker.training.prediction_files import PredictionFiles
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
        self._is_fork = job.resume is not None and job.resume.path.startswith(f"{job.run}/0/")
        self._module = module
        self._reporter = reporter
        self._submit = submit
        self._on = module.config.keep_predictions
        self._files = PredictionFiles(
            store, job.run, job.fence, module.data.dataset, module.config.targets, module.data.size("validation")
        )
        self._epochs: list[int] = []
        self._answers: list[dict[str, Answer]] = []
        self._best: Scored | None = None
        self._labels: dict[str, Classes] | None = None
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
        if self._labels is None:
            self._labels = scored.labels()
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
        if self._labels:
            # The server needs them once, to show what is right while the run trains.
            history, self._labels = replace(history, labels=self._labels), {}
        self._stored_at = time.monotonic()
        self._epochs, self._answers = [], []
        step = self._module.position.step

        def write() -> None:
            kept = self._files.put_history(int(history.epochs[-1]), step, history)
            self._reporter.event("predictions", kept)

        self._submit(write)

    # At the end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Write the one file of the whole run: after the test, when the best weights are in the tested network.

        Raises Stopped, if the validation images have to be predicted again: the best epoch was another attempt's.
        """
        module = self._module
        if module.scored is None:
            return
        test, best, at = module.scored, module.best, module.position
        validation = self._best if self._best is not None else module.predict_validation()
        own = self._history()
        self._epochs, self._answers = [], []
        epoch, step = (best.epoch, best.step) if best.path else (at.epoch, at.step)
        header = self._files.header(best.path, epoch, step)
        last = at.epoch

        def write() -> None:
            parts = {"validation": validation.predictions(), "test": test.predictions()}
            whole = History.merged(each for each in (self._files.history(), own) if each is not None)
            kept = self._files.put_final(header, parts, None if whole is None else whole.until(last))
            self._reporter.event("predictions", kept)
            self._files.remove_others(kept)

        self._submit(write)


def _names(head: str) -> tuple[str, str]:
    return f"{head}/predicted", f"{head}/confidence"
