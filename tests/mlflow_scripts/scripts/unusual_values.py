"""What MLflow's interface permits, beyond the usual: odd steps, values and texts, runs that are continued or killed."""

from __future__ import annotations

import math
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

mlflow.set_experiment("unusual_values")
mlflow.set_experiment_tags({"team": "vision", "stage": "draft"})
client = MlflowClient()
begin = int(time.time() * 1000)

with mlflow.start_run(run_name="numbers") as run:
    mlflow.log_metrics({"whole": 3, "yes": True, "tiny": 5e-324, "huge": 1.7976931348623157e308, "minus zero": -0.0})
    mlflow.log_metric("not a number", math.nan, step=1)
    mlflow.log_metric("not a number", 2.0, step=2)
    mlflow.log_metric("diverged", 1.0, step=0)
    mlflow.log_metric("diverged", math.inf, step=1)
    mlflow.log_metric("diverged", -math.inf, step=2)
    for step, value in [(0, 1.0), (-5, 2.0), (2**53 + 1, 3.0), (2**63 - 1, 4.0), (7, 5.0), (-(2**63), 6.0)]:
        mlflow.log_metric("any step", value, step=step)
    # The same step several times, later times first; the same point twice.
    again = [(4, 1.0, 30), (4, 2.0, 10), (4, 3.0, 20), (4, 3.0, 20), (4, 0.5, 30), (3, 9.0, 40)]
    client.log_batch(run.info.run_id, [Metric("again", value, begin + at, step) for step, value, at in again])
    for step, value, at in again:
        client.log_metric(run.info.run_id, "again singly", value, timestamp=begin + at, step=step)
    for value in (0.3, 0.2, 0.2):
        mlflow.log_metric("without a step", value, timestamp=begin + round(100 * value))
    many = [Metric("many", float(step * step), begin + step, step) for step in range(1000)]
    client.log_batch(run.info.run_id, many)

with mlflow.start_run(run_name="texts 🐟 and\ttabs") as run:
    mlflow.log_params({"empty": "", "none": None, "list": [1, "two"], "dict": {"a": 1.5}, "path/like": "a\\b\n c "})
    mlflow.log_params({"long": "x" * 6000, "ünïcode": "日本語", "with space-and.dots:colon": 0.1 + 0.2})
    client.log_batch(run.info.run_id, params=[Param(f"p{i}", str(i)) for i in range(100)], tags=[RunTag("batch", "1")])
    mlflow.set_tags({"note": "first", "long": "y" * 5000, "empty": "", "number": 3})
    mlflow.set_tag("note", "second")
    mlflow.set_tag("gone", "soon")
    mlflow.delete_tag("gone")
    mlflow.set_tag("mlflow.note.content", "# Heading\n\nA *note*.")
    # Repeating a value is no change.
    mlflow.log_param("ünïcode", "日本語")

with mlflow.start_run(run_name="continued") as run:
    mlflow.log_metric("loss", 2.0, step=0)
with mlflow.start_run(run_id=run.info.run_id):
    mlflow.log_metric("loss", 1.0, step=1)
    mlflow.log_param("attempt", 2)

with mlflow.start_run(run_name="asynchronous"):
    for step in range(50):
        mlflow.log_metric("acc", step / 50, step=step, synchronous=False)
    mlflow.log_params({"a": 1, "b": 2}, synchronous=False)
    mlflow.set_tags({"c": 3}, synchronous=False)
    mlflow.flush_async_logging()

with mlflow.start_run(run_name="before") as run:
    pass
client.update_run(run.info.run_id, name="renamed", status="KILLED")

with mlflow.start_run():
    mlflow.set_tag("named", "by nobody")

with mlflow.start_run(run_name="deleted") as run:
    mlflow.log_param("kept", "yes")
mlflow.delete_run(run.info.run_id)

kept_open = client.create_run(run.info.experiment_id, run_name="never ended", tags={"made": "by the client"})
client.log_metric(kept_open.info.run_id, "loss", 0.25, step=3)
