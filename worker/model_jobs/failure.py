"""Why a job on a model cannot be done, as a sentence for the user."""

from __future__ import annotations

import logging

logger = logging.getLogger("runyard.jobs")


class JobFailed(Exception):
    """A job cannot be done; the message is one sentence for the user."""


def sentence(error: Exception) -> str:
    """What went wrong; an error that nobody expected is also logged with its traceback."""
    from models import UnknownArchitecture
    from worker.data.datasets import DatasetError
    from worker.memory import is_host_out_of_memory

    if isinstance(error, JobFailed | DatasetError | UnknownArchitecture):
        return str(error)
    if is_host_out_of_memory(error):
        return "there was not enough memory for this job; try again when less is running on this machine"
    logger.error("an unexpected error", exc_info=error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else '(no message)'}"
