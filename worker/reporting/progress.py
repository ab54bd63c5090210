"""Progress of long work: an occasional sentence for the log, and a share for a progress bar more often."""

import time
from collections.abc import Callable

LogFunction = Callable[[str], None]
"""Takes a sentence."""

ProgressFunction = Callable[[str, float], None]
"""Takes a short description of the work and the share of it that is done, 0..1."""

SENTENCE_SECONDS = 5.0
SHARE_SECONDS = 0.25


class ProgressReporter:
    """Reports one piece of long work after another; whatever `log` or `progress` raises ends the work.

    log: gets every sentence, and for long work one every SENTENCE_SECONDS. progress: gets the share done, at most once
    per SHARE_SECONDS.
    """

    def __init__(self, log: LogFunction, progress: ProgressFunction | None = None) -> None:
        self.log = log
        self._progress = progress
        self._task = ""
        self._logged_at = self._shared_at = 0.0

    def begin(self, task: str, detail: str = "") -> None:
        """Report that work begins; `task` names it until the next begins."""
        self._task = task
        self._logged_at = time.monotonic()
        self.log(f"{task} ({detail})" if detail else task)

    def update(self, share: float, detail: str) -> None:
        """Report the progress if it is due. share: 0..1; detail: the same as text."""
        now = time.monotonic()
        if self._progress is not None and now - self._shared_at >= SHARE_SECONDS:
            self._shared_at = now
            self._progress(self._task, share)
        if now - self._logged_at >= SENTENCE_SECONDS:
            self._logged_at = now
            self.log(f"{self._task}: {detail}")
