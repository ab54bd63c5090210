"""Measure MLflow's run search with its SQLite store, filled with Runyard's runs: seconds per page of fifty."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow.tracking import MlflowClient

PAGE = 50
PARAMS = 30


def main(ours: Path, folder: Path) -> None:
    """Answer each ``{"by": "test/acc", "pages": n}`` with the seconds and values of pages 1 to n, largest first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("bench", artifact_location=str(folder / "artifacts"))
    copy_runs(ours, folder / "mlflow.db", int(experiment))
    for line in sys.stdin:
        question = json.loads(line)
        print("@" + json.dumps(read_pages(client, experiment, question["by"], question["pages"])), flush=True)


def copy_runs(ours: Path, theirs: Path, experiment: int) -> None:
    """Write what MLflow's client would for each run: the run, 30 parameters, and its metrics."""
    with sqlite3.connect(ours) as source, sqlite3.connect(theirs) as target:
        runs = source.execute("SELECT id, name, status, started_at, ended_at, config FROM run").fetchall()
        statuses = {"succeeded": "FINISHED", "queued": "SCHEDULED", "running": "RUNNING", "cancelled": "KILLED"}
        target.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', ?, ?, ?, '', 'active', ?, ?)",
            [
                (
                    run,
                    name or run,
                    statuses.get(status, "FAILED"),
                    1000 * int(started or 0),
                    1000 * int(ended or 0),
                    f"/artifacts/{run}",
                    experiment,
                )
                for run, name, status, started, ended, _ in runs
            ],
        )
        target.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow.runName', ?, ?)",
            [(name or run, run) for run, name, *_ in runs],
        )
        target.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            (
                (key, str(value), run)
                for run, *_, config in runs
                for key, value in list(json.loads(config).items())[:PARAMS]
            ),
        )
        figures = source.execute(
            "SELECT name, best, cast(1000 * last_time AS INTEGER), last_step, run FROM metric_series"
        ).fetchall()
        for table in ("metrics", "latest_metrics"):
            target.executemany(
                f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
                figures,
            )
        # Without it, the query planner takes four seconds for a page sorted by a metric.
        target.execute("ANALYZE")


def read_pages(client: MlflowClient, experiment: str, by: str, pages: int) -> dict[str, list[Any]]:
    """Seconds of each page, and the values on them."""
    token, cpu, wall, values = None, [], [], []
    for _ in range(pages):
        began, began_cpu = time.perf_counter(), time.process_time()
        page = client.search_runs([experiment], order_by=[f"metrics.`{by}` DESC"], max_results=PAGE, page_token=token)
        cpu.append(time.process_time() - began_cpu)
        wall.append(time.perf_counter() - began)
        if any(len(run.data.params) != PARAMS for run in page):
            raise RuntimeError(f"a run does not have {PARAMS} parameters")
        values += [run.data.metrics.get(by) for run in page]
        token = page.token
    return {"cpu": cpu, "wall": wall, "values": values}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
