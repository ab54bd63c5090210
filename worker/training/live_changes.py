"""What users change of a run while it trains: done between two steps, and again at the same step after a crash."""

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
    """Changes that were given to an attempt or come while it trains; ``apply`` makes those whose step has come.

    A step looks at one number, ``module.change_at``, and comes here when it has reached it.
    """

    def __init__(
        self, module: Classifier, checkpointer: Checkpointer, reporter: Reporter, given: Iterable[Change] = ()
    ) -> None:
        self._module = module
        self._checkpointer = checkpointer
        self._reporter = reporter
        self._known = set(module.course.done)
        self._heard: deque[Change] = deque()
        self._planned: list[Change] = []
        module.apply_changes = self.apply
        for change in given:
            self.hear(change)

    def hear(self, change: Change) -> None:
        """Take a change, from any thread; one that is known already means nothing."""
        if change.id in self._known:
            return
        self._known.add(change.id)
        self._heard.append(change)
        self._module.change_at = 0

    def listen(self, asked: Connection | None) -> None:
        """Hear what comes through a pipe, in a thread that waits for it."""
        if asked is not None:
            threading.Thread(target=self._listen, args=(asked,), name="changes", daemon=True).start()

    def _listen(self, asked: Connection) -> None:
        while True:
            try:
                said = asked.recv_bytes()
            except (EOFError, OSError):  # the supervisor is gone, and this process goes with it
                return
            self.hear(Change.model_validate_json(said))

    def apply(self, validated: bool = False) -> None:
        """Make the changes that are due; ``validated``: in the epoch that is being ended, which saves by itself."""
        step = self._module.position.step
        while self._heard:
            self._planned.append(self._heard.popleft())
        due = [each for each in self._planned if each.step is None or each.step <= step]
        if validated:
            due = [each for each in due if each.kind != "checkpoint"]
        self._planned = [each for each in self._planned if each not in due]
        self._module.change_at = min((each.step or 0 for each in self._planned), default=NEVER)
        if self._heard:  # since it was looked at
            self._module.change_at = 0
        for change in sorted(due, key=lambda each: each.id):
            self._make(change)

    def _make(self, change: Change) -> None:
        course, position = self._module.course, self._module.position
        refusal = ""
        match change.kind:
            case "lr_factor":
                course.factor *= float(change.value or 1)
                words = f"learning rate × {change.value:g} from step {position.step:,} on"
            case "epochs":
                before = course.epochs
                course.epochs = course.planned = change.epochs or max(int(change.value or 0), self._least())
                self._module.plan()
                words = f"{course.epochs} epochs instead of {before}, from step {position.step:,} on"
            case "stop_after_epoch":
                course.epochs = change.epochs or min(course.epochs, self._least())
                self._module.plan()
                words = f"ends after epoch {course.epochs}"
            case "checkpoint":
                words = f"checkpoint of step {position.step:,}"
                if not change.applied and not self._checkpointer.keep_now():
                    refusal = "its weights are not finite, so that none was kept"
            case "note":
                words = f"note at step {position.step:,}: {change.value}"
        course.done.append(change.id)
        if change.applied:
            self._reporter.say(f"{words}, as before")
            return
        if change.kind in ("epochs", "stop_after_epoch"):
            # Who hears that it was done finds the new number of epochs there.
            self._module.report_progress(now=True)
        outcome: Any = "refused" if refusal else "applied"
        said = Changed(id=change.id, outcome=outcome, step=position.step, epochs=course.epochs, reason=refusal)
        self._reporter.event("change", said)
        self._reporter.say(
            f"{words}: {refusal}" if refusal else f"{words}, as was asked", "warning" if refusal else "info"
        )

    def _least(self) -> int:
        """After how many epochs a run can end at the earliest: with the one in training, if there is one."""
        position = self._module.position
        over = position.epoch >= self._module.course.epochs and not position.done
        return position.epoch if over else position.epoch + 1
