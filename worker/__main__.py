"""Run the worker process (``python -m worker``); its fork server imports nothing from this file."""

from __future__ import annotations

import logging
import sys

from app.contract.process import end_with_parent, log_to_stderr
from app.contract.settings import Settings
from worker.tasks import run_worker


def main() -> int:
    """Run a worker with the settings from the environment."""
    log_to_stderr()
    end_with_parent()
    try:
        run_worker(Settings())
    except RuntimeError as error:
        logging.getLogger("runyard.worker").error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
