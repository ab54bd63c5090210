"""A real Prometheus scrapes a yard."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from app.services.embedded import free_port

CONFIG = """
scrape_configs:
  - job_name: runyard
    scrape_interval: 1s
    static_configs:
      - targets: ["{target}"]
"""


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no Prometheus on this machine")
def test_prometheus_scrapes_runs_requests_and_disk(yard: Any, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(target=yard.address.removeprefix("http://")))
    address = f"127.0.0.1:{free_port('127.0.0.1', 0)}"
    options = {
        "config.file": tmp_path / "prometheus.yml",
        "storage.tsdb.path": tmp_path / "data",
        "web.listen-address": address,
    }
    prometheus = subprocess.Popen(
        ["prometheus", *(f"--{name}={value}" for name, value in options.items())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(expression: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://{address}/api/v1/query?{query}", timeout=5) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
                return found
        except (urllib.error.URLError, OSError):
            return []

    try:
        (up,) = yard.until(lambda: ask('up{job="runyard"} == 1'), 60)
        assert up["value"][1] == "1"
        run = yard.log("scraped", {"loss": {0: 1.0}})
        succeeded = sum(each["id"] == run for each in yard.call("/runs?status=succeeded&limit=200")["runs"])
        assert succeeded == 1
        yard.until(lambda: ask('runyard_runs{status="succeeded"} >= 1'), 60)
        yard.until(lambda: ask("runyard_disk_free_bytes > 0"), 60)
        yard.until(lambda: ask('sum(runyard_worker_slots{device="cpu"}) == 2'), 60)
        yard.until(lambda: ask('runyard_http_request_seconds_count{route="/metrics",status="2xx"} > 1'), 30)
    finally:
        prometheus.terminate()
        prometheus.wait(20)
