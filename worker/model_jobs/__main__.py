"""``python -m worker.model_jobs``: run the job that standard input describes (app/contract/model_jobs.py)."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Any, Final, TextIO

from pydantic import BaseModel

from app.contract.model_jobs import JobMessage, JobRequest
from worker.model_jobs import failure

NICE: Final = 10
"""Training goes first."""
CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
KINDS: Final = {
    "evaluate": "worker.model_jobs.evaluation",
    "robustness": "worker.model_jobs.robustness",
    "export": "worker.model_jobs.export",
}
"""The module of each kind of job: a function ``run(request, progress)`` that returns the result."""


def main(questions: TextIO, answers: TextIO) -> None:
    """Run one job, and end when the server does."""
    os.nice(NICE)
    # Read when torch is imported. Threads that wait for each other on busy cores would only waste them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, CORES // 2)))
    request = JobRequest.model_validate_json(questions.readline())
    threading.Thread(target=_end_with_server, args=(questions,), name="server-watch", daemon=True).start()
    lock = threading.Lock()

    def say(**message: Any) -> None:
        with lock:
            answers.write(JobMessage(**message).model_dump_json(exclude_none=True) + "\n")
            answers.flush()

    try:
        run = importlib.import_module(KINDS[request.kind]).run
        result: BaseModel = run(request, lambda share: say(share=share))
    except Exception as error:  # every error is reported to the user; what nobody expected also in the server's log
        say(reason=failure.sentence(error))
    else:
        say(result=result.model_dump(mode="json"))


def _end_with_server(questions: TextIO) -> None:
    questions.read()
    # The server has ended or given up this job: nobody reads the result.
    os._exit(1)


if __name__ == "__main__":
    # What a library prints must not get in between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.stdin, answers)
