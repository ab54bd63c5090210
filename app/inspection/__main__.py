"""``python -m app.inspection [FOLDER]``: answers questions about networks, a JSON object a line, until its input ends.

{"catalog": true} is answered by {"catalog": Catalog}, {"config": RunConfig} by {"traced": Traced}, or by
{"refusal": Refusal} where the network cannot be trained so; anything else by {"fault": "what went wrong"}. FOLDER holds
architectures from outside.
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

import torch

import models
from app.contract.spec import RunConfig
from app.inspection.network import Refused, catalog, inspect


def main(folder: Path | None) -> None:
    """Answer until the input ends."""
    # Ctrl-C in a terminal reaches every process of it; the server is the one that ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What architectures print goes elsewhere than the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    torch.set_num_threads(1)
    # What it complains of is told to who asked, or is no fault.
    logging.getLogger("torch._subclasses.fake_tensor").setLevel(logging.CRITICAL)
    broken = models.broken | (models.load_path(folder) if folder is not None else {})
    # To look for garbage among all that torch holds takes longer than most answers. So it is done while nobody waits,
    # among what is new since the last time.
    gc.disable()
    while True:
        gc.collect()
        gc.freeze()
        _say(answers, _answer(json.loads(lines.get()), broken))


def _read(lines: queue.Queue[str]) -> None:
    """In a thread of its own, so that this process ends with the server also while an architecture is at work."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _answer(asked: dict[str, Any], broken: dict[str, str]) -> dict[str, Any]:
    try:
        if "config" in asked:
            return {"traced": inspect(RunConfig.model_validate(asked["config"])).model_dump()}
        return {"catalog": catalog(broken).model_dump()}
    except Refused as error:
        return {"refusal": error.refusal.model_dump()}
    except Exception:
        return {"fault": traceback.format_exc()}


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
