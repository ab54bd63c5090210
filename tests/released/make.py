"""Makes the data folder of a released version, by running its code: ``python -m tests.released.make VERSION CHECKOUT``.

What the version itself says of its runs is kept beside it, as JSON: what later versions must show too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = r"runyard\.db|artifacts/{first}/1/(best|last-\d+)\.safetensors"
"""The database, and checkpoints of the first run. All else is large or made again by itself."""
SPEC = {"family": "simple_mlp", "size": "tiny", "dataset": "digits", "epochs": 2, "device": "cpu"}
SECONDS = 300.0


class Yard:
    """`runyard up` of another checkout."""

    def __init__(self, checkout: Path, data: Path) -> None:
        self.output = data.parent / "up.out"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up", "--port", "0", "--data-dir", str(data)],
                cwd=checkout,
                env=os.environ | {"PYTHONPATH": str(checkout)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.address = self.until(lambda: re.search(r"http://127\.0\.0\.1:\d+", self.output.read_text()))[0]

    def until(self, condition: Any) -> Any:
        """What ``condition`` gives as soon as that is true."""
        end = time.monotonic() + SECONDS
        while not (found := condition()):
            if time.monotonic() > end or self.process.poll() is not None:
                raise SystemExit(self.output.read_text())
            time.sleep(0.2)
        return found

    def call(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """An answer of the API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.address}/api/{path}", data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=70) as answer:
            return json.loads(answer.read() or b"null")

    def ended(self) -> list[dict[str, Any]]:
        """All runs, once they have ended."""

        def found() -> list[dict[str, Any]]:
            runs: list[dict[str, Any]] = self.call("v1/runs?limit=100")["runs"]
            return runs if all(run["status"] in ("succeeded", "failed", "cancelled") for run in runs) else []

        return list(self.until(found))

    def stop(self) -> None:
        """Ctrl-C, and wait."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def fill(yard: Yard, version: str) -> dict[str, Any]:
    """Let the yard have some of everything; returns what it says of its runs."""
    first = yard.call("v1/runs", SPEC | {"name": "first", "tags": ["kept", "baseline"], "notes": "of long ago"})["id"]
    sweep = yard.call("v1/sweeps", {"base": SPEC | {"epochs": 1}, "grid": {"lr": [0.001, 0.01]}})["id"]
    yard.ended()
    yard.call(f"v1/runs/{first}/resume", {"epochs": 3})
    logged = yard.call("2.0/mlflow/runs/create", {"experiment_id": "0", "run_name": "from a script"})
    script = logged["run"]["info"]["run_id"]
    points = [{"key": "loss", "step": i, "value": 1 / (i + 1), "timestamp": 1_790_000_000_000 + i} for i in range(50)]
    yard.call(
        "2.0/mlflow/runs/log-batch", {"run_id": script, "metrics": points, "params": [{"key": "lr", "value": "1"}]}
    )
    yard.call("2.0/mlflow/runs/update", {"run_id": script, "status": "FINISHED"})
    yard.call("v1/views", {"name": "mine", "question": "q=tag:kept"})
    yard.call("v1/rules", {"comparison": "above", "metric": "val/acc", "value": 0.1})
    aliases = {}
    if version != "0.1.0":
        yard.call("v1/models/digits-best", {"run": first}, method="PUT")
        aliases = {"digits-best": first}
    runs = yard.ended()
    for run in runs:
        del run["environment"]
        run["curves"] = yard.call(f"v1/runs/{run['id']}/metrics?points=0")
    return {
        "version": version,
        "first": first,
        "runs": runs,
        "sweep": yard.call(f"v1/sweeps/{sweep}"),
        "aliases": aliases,
    }


def forget_machine(database: Path, checkout: Path) -> None:
    """Replace what a run says of the paths of this machine; also leaves one file, without a write-ahead log."""
    with closing(sqlite3.connect(database)) as connection:
        for path, neutral in ((sys.executable, "/usr/bin/python3"), (str(checkout), "/srv/runyard")):
            connection.execute("UPDATE run_capture SET content = replace(content, ?, ?)", (path, neutral))
        connection.commit()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def keep(data: Path, shown: dict[str, Any]) -> None:
    """Write the archive of a data folder, and what its version showed."""
    (HERE / f"{shown['version']}.json").write_text(json.dumps(shown, separators=(",", ":")) + "\n")
    with tarfile.open(HERE / f"{shown['version']}.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted(data.rglob("*")):
            inside = str(path.relative_to(data))
            if path.is_file() and re.fullmatch(KEPT.replace("{first}", shown["first"]), inside):
                archive.add(path, inside, filter=_of_nobody)


def _of_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main(version: str, checkout: Path) -> None:
    """Run a checkout in a new folder, and keep the folder."""
    with tempfile.TemporaryDirectory(prefix="ry", dir="/tmp") as name:
        data = Path(name) / "data"
        yard = Yard(checkout, data)
        try:
            yard.until(lambda: yard.call("v1/workers")["workers"])
            shown = fill(yard, version)
        finally:
            yard.stop()
        forget_machine(data / "runyard.db", checkout)
        keep(data, shown)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
