"""Measure MLflow's log_batch with its SQLite store: CPU and wall seconds for a number of scalars."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_ENABLE_ASYNC_LOGGING"] = "false"

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

BATCH = 1000


def main(folder: Path) -> None:
    """Answer each ``{"scalars": n, "names": [...]}`` until the input ends."""
    folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("bench", artifact_location=str(folder / "artifacts"))
    for line in sys.stdin:
        question = json.loads(line)
        print("@" + json.dumps(measure(client, experiment, question)), flush=True)


def measure(client: MlflowClient, experiment: str, question: dict[str, Any]) -> dict[str, float]:
    """Seconds of one run's batches. Raises RuntimeError if a scalar is missing afterward."""
    names, scalars = question["names"], question["scalars"]
    run = client.create_run(experiment).info.run_id
    metrics = [
        Metric(names[i % len(names)], i / scalars, 1_700_000_000_000 + i, i // len(names)) for i in range(scalars)
    ]
    cpu, wall = time.process_time(), time.perf_counter()
    for first in range(0, scalars, BATCH):
        client.log_batch(run, metrics=metrics[first : first + BATCH])
    took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    kept = sum(len(client.get_metric_history(run, name)) for name in names)
    if kept != scalars:
        raise RuntimeError(f"{kept} of {scalars} scalars were stored")
    return took


if __name__ == "__main__":
    main(Path(sys.argv[1]))
