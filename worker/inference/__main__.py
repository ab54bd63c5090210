"""``python -m worker.inference DATASETS ARTIFACTS BYTES [MODELS_PATH]``: predicts with trained networks, until EOF.

Questions and answers are JSON objects, one per line; see `worker/inference/answers.py`. BYTES: of the networks that
are kept in memory. An unexpected error is answered with {"fault": "traceback"}.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.contract.process import imports_without_gc

with imports_without_gc():
    import torch

    from app.contract.datasets import DATASETS
    from worker.data.answering import answer_lines
    from worker.inference.answers import Answers

MOST_THREADS = 4
CORES_PER_THREAD = 4
"""A thread that waits for another one, because trainers have all cores, makes an answer take ten times as long."""


def main(datasets: str, artifacts: str, most_bytes: str, models_path: str = "") -> None:
    """Answer questions until the input ends."""
    torch.set_num_threads(max(1, min(MOST_THREADS, (os.cpu_count() or 1) // CORES_PER_THREAD)))
    DATASETS.open(Path(datasets))
    models = Path(models_path) if models_path else None
    answer_lines(Answers(Path(datasets), artifacts, models, int(most_bytes)).answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
