"""Measurements of the machine, logged by MLflow's own thread beside the metrics of the training."""

from __future__ import annotations

import time

import mlflow

mlflow.set_experiment("system_metrics")
mlflow.set_system_metrics_sampling_interval(0.1)
mlflow.set_system_metrics_samples_before_logging(1)
with mlflow.start_run(run_name="measured", log_system_metrics=True) as run:
    client = mlflow.MlflowClient()
    step, end = 0, time.monotonic() + 60
    # It trains until three measurements have been logged.
    while len(client.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")) < 3:
        assert time.monotonic() < end
        total = sum(value * value for value in range(20_000))
        step += 1
    mlflow.log_metric("loss", 0.5, step=1)
