"""How long work speaks of itself: a sentence now and then for the log, the share done more often for a bar."""

import time
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a sentence."""

Progress = Callable[[str, float], None]
"""Takes what is being done, in a few words, and the share of it that is done, 0..1."""

SENTENCE_SECONDS = 5.0
SHARE_SECONDS = 0.25


class ProgressReporter:
    """Tells of one piece of long work after another; what `say` or `progress` raises ends the work.

    say: is given every sentence, and of a piece of work that lasts one every SENTENCE_SECONDS. progress: the share done
    of it, at most once in SHARE_SECONDS.
    """

    def __init__(self, say: Say, progress: Progress | None = None) -> None:
        self.say = say
        self._progress = progress
        self._what = ""
        self._said_at = self._shared_at = 0.0

    def begin(self, what: str, detail: str = "") -> None:
        """Says that work begins; `what` names it until the next begins."""
        self._what = what
        self._said_at = time.monotonic()
        self.say(f"{what} ({detail})" if detail else what)

    def get_on(self, share: float, detail: str) -> None:
        """Tells how far the work is, when it is time to. share: 0..1; detail: the same in words."""
        now = time.monotonic()
        if self._progress is not None and now - self._shared_at >= SHARE_SECONDS:
            self._shared_at = now
            self._progress(self._what, share)
        if now - self._said_at >= SENTENCE_SECONDS:
            self._said_at = now
            self.say(f"{self._what}: {detail}")
