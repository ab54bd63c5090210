"""A Runyard to measure: `runyard up` on a free port, in a temporary folder."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Yard:
    """Started on entering, stopped on leaving; ``address`` is where it listens."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="ry", dir="/tmp"))
        words = [sys.executable, "-m", "app.cli", "up", "--port", "0", "--data-dir", str(self.folder / "data")]
        self.output = self.folder / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(words, stdout=output, stderr=output, start_new_session=True)
        self.address = self._said(r"Open (http://\S+)")
        self._said(r"(A worker is ready)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _said(self, pattern: str) -> str:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            found = re.search(pattern, self.output.read_text())
            if found:
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"Runyard did not start:\n{self.output.read_text()}")

    def call(self, path: str, body: Any = None) -> Any:
        """An answer of the API."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.address}/api/v1{path}", data, headers)) as answer:
            return json.load(answer)

    def wait(self, run: str, *statuses: str) -> dict[str, Any]:
        """The run, once it has one of these statuses."""
        while True:
            found: dict[str, Any] = self.call(f"/runs/{run}")
            if found["status"] in statuses:
                return found
            if found["status"] == "failed":
                raise RuntimeError(found["reason"])
            time.sleep(0.02)
