"""``python -m worker.data.importing DATASETS_FOLDER IMPORT_ID``: go on with one import."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from pathlib import Path
from types import FrameType

from PIL import Image

from app.contract.logs import formatter
from app.contract.settings import Settings
from worker.data.importing.job import run_import


def _end(number: int, frame: FrameType | None) -> None:
    # Readers are ended on the way out; the import goes on when it is started again.
    raise SystemExit(128 + number)


def main() -> None:
    """Run the import that the command line names."""
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m worker.data.importing DATASETS_FOLDER IMPORT_ID")
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(Settings().log_format))
    logging.basicConfig(handlers=[handler])
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    Image.MAX_IMAGE_PIXELS = None  # `decode` has its own limit
    warnings.filterwarnings("ignore", module="PIL")
    run_import(Path(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    main()
