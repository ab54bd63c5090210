"""Read curves from another tracker as its own pages do, reduced to a number of points.

``python read_curves.py NAME FOLDER`` first writes ``{"runs": n, "names": [...], "points": n}`` and answers true, then
answers each ``{"read": method, "points": n}`` with its CPU and wall seconds and the number of points read.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1", "TRACKIO_DIR": f"{sys.argv[2]}/trackio"}

BEGAN = 1_700_000_000
Reads = dict[str, Callable[[int], int]]


def value(place: int, step: int) -> float:
    """A value that oscillates and has as many digits as a loss."""
    return math.sin(step / 50 + place) + step / 7919


def fill_trackio(folder: Path, runs: int, names: list[str], points: int) -> Reads:
    """Write one dictionary of all metrics per step, which suits trackio best."""
    from trackio.sqlite_storage import SQLiteStorage

    for run in range(runs):
        rows = [{name: value(place, step) for place, name in enumerate(names)} for step in range(points)]
        SQLiteStorage.bulk_log("bench", f"run{run}", rows, list(range(points)), run_id=f"run{run}")
    wanted = [{"run": f"run{run}", "run_id": f"run{run}"} for run in range(runs)]

    def batch(reduced: int) -> int:
        found = SQLiteStorage.get_logs_batch("bench", wanted, max_points=reduced)
        return sum(len(row.keys() - {"step", "timestamp"}) for each in found for row in each["logs"])

    return {"batch": batch}


def fill_mlflow(folder: Path, runs: int, names: list[str], points: int) -> Reads:
    """Write directly into its table, because log_batch would take minutes."""
    from mlflow.tracking import MlflowClient
    from mlflow.tracking._tracking_service.utils import _get_store

    address = f"sqlite:///{folder / 'mlflow.db'}"
    client, store = MlflowClient(tracking_uri=address), _get_store(address)  # type: ignore[no-untyped-call]
    experiment = client.create_experiment("bench", artifact_location=str(folder / "artifacts"))
    wanted = [client.create_run(experiment).info.run_id for _ in range(runs)]
    database = sqlite3.connect(folder / "mlflow.db")
    rows = (
        (name, value(place, step), 1000 * BEGAN + step, run, step, False)
        for run in wanted
        for place, name in enumerate(names)
        for step in range(points)
    )
    database.executemany(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)", rows
    )
    database.commit()
    database.close()

    def sampled(reduced: int) -> int:
        return sum(
            len(store.get_metric_history_bulk_interval(wanted, name, reduced, start_step=None, end_step=None))
            for name in names
        )

    return {"sampled": sampled}


def main(name: str, folder: Path) -> None:
    """Answer requests until the input ends."""
    folder.mkdir(parents=True, exist_ok=True)
    fill = {"trackio": fill_trackio, "MLflow": fill_mlflow}[name]
    asked = json.loads(sys.stdin.readline())
    reads = fill(folder, asked["runs"], asked["names"], asked["points"])
    print("@true", flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        points = reads[question["read"]](question["points"])
        took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "points": points}
        print("@" + json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
