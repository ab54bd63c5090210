"""The output of a command as lines for a run's log: decoded, without terminal codes, and not too many per second."""

from __future__ import annotations

import codecs
import re
from collections import deque
from typing import Final

LONGEST_LINE: Final = 4000
"""Characters; a longer line is continued on the next."""
PROGRESS_SECONDS: Final = 10.0
"""How often a line that is redrawn, such as a progress bar, is logged."""
LINES_PER_SECOND: Final = 200.0
BURST_LINES: Final = 5000
MANY_LINES: Final = 100_000
LATER_LINES_PER_SECOND: Final = 2.0
"""The limit after MANY_LINES: a run of days must not fill the database."""
LAST_LINES: Final = 100
"""How many of the newest skipped lines are logged after all, when there is room again: errors come last."""

_CODES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class OutputLines:
    """Turns chunks of bytes into lines; ``last``: the newest line that is not blank."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._progress_at = float("-inf")
        self.last = ""

    def feed(self, chunk: bytes, now: float) -> list[str]:
        """The lines that ``chunk`` completes. now: a monotonic time in seconds."""
        *complete, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        lines = [part for line in complete for part in self._parts(_redrawn(line))]
        while len(self._rest) > LONGEST_LINE and "\r" not in self._rest:
            lines += self._parts(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        if "\r" in self._rest:
            # A carriage return at the very end may belong to a line end that is not complete.
            drawn, ending = (self._rest[:-1], "\r") if self._rest.endswith("\r") else (self._rest, "")
            self._rest = _redrawn(drawn)[:LONGEST_LINE] + ending
            if now - self._progress_at >= PROGRESS_SECONDS and _redrawn(drawn).strip():
                self._progress_at = now
                lines += self._parts(_redrawn(drawn))
        return lines

    def close(self) -> list[str]:
        """The last line, if it has no line end."""
        rest = _redrawn(self._rest + self._decoder.decode(b"", final=True))
        self._rest = ""
        return self._parts(rest) if rest.strip() else []

    def _parts(self, line: str) -> list[str]:
        clean = _CONTROL.sub("", _CODES.sub("", line)).rstrip()
        if clean:
            self.last = clean
        return [clean[start : start + LONGEST_LINE] for start in range(0, len(clean), LONGEST_LINE)] or [""]


def _redrawn(line: str) -> str:
    """What a terminal shows of a line that is drawn several times."""
    return line.rstrip("\r").rpartition("\r")[2]


class LineBudget:
    """Limits lines to LINES_PER_SECOND, after BURST_LINES, and to fewer after MANY_LINES.

    A command is never slowed down by its log.
    """

    def __init__(self, now: float) -> None:
        self._room = float(BURST_LINES)
        self._at = now
        self._skipped = 0
        self._logged = 0
        self._newest: deque[str] = deque(maxlen=LAST_LINES)

    def admit(self, lines: list[str], now: float) -> list[str]:
        """The lines to log now. now: a monotonic time in seconds."""
        rate = LINES_PER_SECOND if self._logged < MANY_LINES else LATER_LINES_PER_SECOND
        self._room = min(float(BURST_LINES), self._room + (now - self._at) * rate)
        self._at = now
        admitted = self.flush() if self._skipped and self._room >= 2 * LAST_LINES else []
        self._room -= len(admitted)
        fitting = max(0, int(self._room)) if not self._skipped else 0
        admitted += lines[:fitting]
        self._room -= min(fitting, len(lines))
        self._skipped += len(lines[fitting:])
        self._newest.extend(lines[fitting:])
        self._logged += len(admitted)
        return admitted

    def flush(self) -> list[str]:
        """What was skipped, told in one line, and its newest lines."""
        left_out = self._skipped - len(self._newest)
        told = [f"(skipped {left_out:,} line{'' if left_out == 1 else 's'}: too many per second)"] if left_out else []
        newest = list(self._newest)
        self._newest.clear()
        self._skipped = 0
        return [*told, *newest]
