"""Applies users' changes to a run while it trains: between two steps, and at the same step again after a crash."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import Any

from app.contract.events import Change, Changed
from worker.reporting.reporter import Reporter
from worker.training.checkpointing import Checkpointer
from worker.training.module import Classifier
from worker.training.position import NEVER


class Changes:
    """Changes that an attempt starts with or receives while it trains; ``apply`` makes those whose step has come.

    A step compares one number, ``module.change_at``, and calls ``apply`` once it reaches it.
    """

    def __init__(
        self, module: Classifier, checkpointer: Checkpointer, reporter: Reporter, given: Iterable[Change] = ()
    ) -> None:
        self._module = module
        self._checkpointer = checkpointer
        self._reporter = reporter
        self._known = set(module.course.done)
        self._received: deque[Change] = deque()
        self._planned: list[Change] = []
        module.apply_changes = self.apply
        for change in given:
            self.add(change)

    def add(self, change: Change) -> None:
        """Add a change, from any thread; a known one is ignored."""
        if change.id in self._known:
            return
        self._known.add(change.id)
        self._received.append(change)
        self._module.change_at = 0

    def listen(self, changes: Connection | None) -> None:
        """Receive changes through a pipe, in a thread that waits for them."""
        if changes is not None:
            threading.Thread(target=self._listen, args=(changes,), name="changes", daemon=True).start()

    def _listen(self, changes: Connection) -> None:
        while True:
            try:
                message = changes.recv_bytes()
            except (EOFError, OSError):  # the supervisor is gone, and this process ends with it
                return
            self.add(Change.model_validate_json(message))

    def apply(self, validated: bool = False) -> None:
        """Make the changes that are due; ``validated``: at the end of an epoch, which saves a checkpoint by itself."""
        step = self._module.position.step
        while self._received:
            self._planned.append(self._received.popleft())
        due = [change for change in self._planned if change.step is None or change.step <= step]
        if validated:
            due = [change for change in due if change.kind != "checkpoint"]
        self._planned = [change for change in self._planned if change not in due]
        self._module.change_at = min((change.step or 0 for change in self._planned), default=NEVER)
        if self._received:  # received meanwhile
            self._module.change_at = 0
        for change in sorted(due, key=lambda change: change.id):
            self._apply_one(change)

    def _apply_one(self, change: Change) -> None:
        course, position = self._module.course, self._module.position
        refusal = ""
        match change.kind:
            case "lr_factor":
                course.factor *= float(change.value or 1)
                text = f"learning rate multiplied by {change.value:g} at step {position.step:,}"
            case "epochs":
                before = course.epochs
                course.epochs = course.planned = change.epochs or max(int(change.value or 0), self._earliest_end())
                self._module.plan()
                text = f"number of epochs changed from {before:,} to {course.epochs:,} at step {position.step:,}"
            case "stop_after_epoch":
                course.epochs = change.epochs or min(course.epochs, self._earliest_end())
                self._module.plan()
                text = f"will stop after epoch {course.epochs:,}"
            case "checkpoint":
                text = f"saved a checkpoint at step {position.step:,}"
                if not change.applied and not self._checkpointer.keep_current():
                    refusal = "some weights are NaN or infinite"
                    text = f"checkpoint at step {position.step:,} not saved"
            case "note":
                text = f"note at step {position.step:,}: {change.value}"
        course.done.append(change.id)
        if change.applied:
            self._reporter.log(f"{text} (reapplied)")
            return
        if change.kind in ("epochs", "stop_after_epoch"):
            # Whoever is notified of the change must find the new number of epochs.
            self._module.report_progress(now=True)
        outcome: Any = "refused" if refusal else "applied"
        event = Changed(id=change.id, outcome=outcome, step=position.step, epochs=course.epochs, reason=refusal)
        self._reporter.event("change", event)
        self._reporter.log(f"{text}: {refusal}" if refusal else text, "warning" if refusal else "info")

    def _earliest_end(self) -> int:
        """The lowest number of epochs a run can end with: including the epoch in training, if there is one."""
        position = self._module.position
        finished = position.epoch >= self._module.course.epochs and not position.done
        return position.epoch if finished else position.epoch + 1
