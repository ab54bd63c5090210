"""Startup times: from server start to its first page, and from a launch to the first training step."""

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

from bench.instance import Instance
from bench.report import row, save

REPEATS = 7


def main() -> None:
    """Measure both."""
    pages, steps = [], []
    with Instance() as instance:
        instance.wait(instance.call("/runs", {"family": "simple_mlp", "epochs": 1})["id"], "succeeded")
        for _ in range(REPEATS):
            started_at = time.time()
            run = instance.call("/runs", {"family": "simple_cnn", "epochs": 1})["id"]
            instance.wait(run, "succeeded")
            curve = instance.call(f"/runs/{run}/metrics?points=0&names=train/loss")["train/loss"]
            steps.append(curve["time"][0] - started_at)
            pages.append(_first_page(instance.redis_url))
    save(
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
        started_at = time.monotonic()
        command = [sys.executable, "-m", "app.cli", "server", "--port", str(port), "--data-dir", folder]
        environment = {**os.environ, "RUNYARD_REDIS_URL": redis_url}
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    answer.read()
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        seconds = time.monotonic() - started_at
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    return seconds
