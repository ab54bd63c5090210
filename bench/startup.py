"""How long one waits: for the server's first page, and from a launch to the first training step."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from bench.record import keep, row
from bench.yard import Yard

REPEATS = 7


def main() -> None:
    """Measure both."""
    pages, steps = [], []
    with Yard() as yard:
        yard.wait(yard.call("/runs", {"family": "simple_mlp", "epochs": 1})["id"], "succeeded")
        for _ in range(REPEATS):
            began = time.time()
            run = yard.call("/runs", {"family": "simple_cnn", "epochs": 1})["id"]
            yard.wait(run, "succeeded")
            curve = yard.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]
            steps.append(curve["time"][0] - began)
            pages.append(_first_page(yard.redis_url))
    keep(
        "startup",
        [
            row("server process start -> first page, s", pages, "< 2"),
            row("POST /api/v1/runs -> first training step done, s", steps, "< 2"),
        ],
    )


def _first_page(redis_url: str) -> float:
    """Seconds from starting a server process to its answer to GET /."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        words = [sys.executable, "-m", "app.cli", "server", "--port", str(port), "--data-dir", folder]
        environment = {**os.environ, "RUNYARD_REDIS_URL": redis_url}
        process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    answer.read()
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        took = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    return took
