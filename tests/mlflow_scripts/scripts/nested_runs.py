"""Folds and repetitions as runs within runs, three levels deep, one of which fails."""

from __future__ import annotations

import contextlib

import mlflow

mlflow.set_experiment("nested_runs")
with mlflow.start_run(run_name="five folds", description="Folds *within* a run") as parent:
    mlflow.log_param("folds", 2)
    for fold in range(2):
        with mlflow.start_run(run_name=f"fold {fold}", nested=True, tags={"fold": str(fold)}):
            mlflow.log_params({"fold": fold, "lr": 0.1 / (fold + 1)})
            for repetition in range(2):
                with mlflow.start_run(run_name=f"fold {fold}, repetition {repetition}", nested=True):
                    for step in range(3):
                        mlflow.log_metric("acc", 0.5 + 0.1 * fold + 0.01 * repetition + step / 1000, step=step)
            mlflow.log_metric("mean_acc", 0.5 + 0.1 * fold)
    with contextlib.suppress(ZeroDivisionError), mlflow.start_run(run_name="broken", nested=True):
        mlflow.log_metric("loss", 1 / 0)
    mlflow.log_metric("mean_acc", 0.55)

with mlflow.start_run(run_name="by its parent's ID", parent_run_id=parent.info.run_id):
    mlflow.set_tag("late", "yes")
