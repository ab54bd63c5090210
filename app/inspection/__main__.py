"""``python -m app.inspection DATASETS [FOLDER]``: answers questions about networks, a JSON object a line, until EOF.

{"catalog": true, "known": [FamilyEntry]} is answered with {"catalog": Catalog}, which takes the built-in families that
are known already; {"config": RunConfig} with {"traced": Traced}, or with {"refusal": Refusal} if the network cannot be
trained; {"counts": [channels, side, classes]} with {"counts": {family: {size: parameters}}}; errors with
{"fault": "traceback"}. DATASETS contains the user's own datasets, FOLDER external architectures.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from app.contract.process import imports_without_gc

with imports_without_gc():
    import torch

    import models
    from app.contract.catalog import FamilyEntry
    from app.contract.datasets import DATASETS
    from app.contract.spec import RunConfig
    from app.inspection.network import Refused, catalog, count_on, inspect


def main(datasets: Path, folder: Path | None) -> None:
    """Answer questions until the input ends."""
    DATASETS.open(datasets)
    # Ctrl-C in a terminal reaches all its processes; only the server should end this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Redirect what architectures print away from the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    torch.set_num_threads(1)
    # Its warnings are either reported in the answer or harmless.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    broken = models.broken | (models.load_path(folder) if folder is not None else {})
    # Collecting garbage among all of torch's objects takes longer than most answers. So it is done between questions,
    # and only among objects created since the last time.
    gc.disable()
    while True:
        gc.collect()
        gc.freeze()
        _say(answers, _answer(json.loads(lines.get()), broken))


def _read(lines: queue.Queue[str]) -> None:
    """Read lines in a separate thread, so that this process ends with the server even while an architecture runs."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(question: dict[str, Any], broken: dict[str, str]) -> dict[str, Any]:
    try:
        if "config" in question:
            return {"traced": inspect(RunConfig.model_validate(question["config"])).model_dump()}
        if "counts" in question:
            return {"counts": count_on(*question["counts"])}
        known = [FamilyEntry.model_validate(entry) for entry in question.get("known", [])]
        return {"catalog": catalog(broken, known).model_dump()}
    except Refused as error:
        return {"refusal": error.refusal.model_dump()}
    except Exception:  # a fault of one question goes to the server's log; the process answers the next one
        return {"fault": traceback.format_exc()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
