"""The loop of a program that answers questions of the server, a JSON object a line, until its input ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any


def answer_lines(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer each line; what ``answer`` raises is answered with {"fault": "traceback"}, for the server's log."""
    # Ctrl-C in a terminal reaches all its processes; only the server should end this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print goes to the log, away from the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception:  # a fault of one question; the next one is answered
            found = {"fault": traceback.format_exc()}
        answers.write(json.dumps(found) + "\n")
        answers.flush()
