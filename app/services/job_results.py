"""What the result of a job on a model changes in the database, in the transaction that ends the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from pydantic_core import from_json
from sqlalchemy import Connection, text

from app.contract.events import PredictionsKept
from app.contract.metric_names import ROBUST
from app.contract.model_jobs import EvaluateResult, RobustnessResult
from app.store.metric import Curve, add_curves
from app.store.model_job import JobRecord
from app.store.prediction_file import record_file


def _keep_predictions(connection: Connection, job: JobRecord, result: dict[str, Any], commit: int, now: float) -> None:
    fence = connection.execute(text("SELECT fence FROM run WHERE id = :run"), {"run": job.run}).scalar_one()
    kept = EvaluateResult.model_validate(result)
    fields = PredictionsKept.model_fields
    record_file(connection, job.run, fence, PredictionsKept(**kept.model_dump(include=set(fields))), now)


def robustness_metrics(found: RobustnessResult) -> dict[str, float]:
    """The metrics of a card: ``robust/acc``, ``robust/fog/acc``, …; with several heads, ``robust/HEAD/acc``, …"""
    values: dict[str, float] = {}
    for head, rows in found.accuracy.items():
        prefix = ROBUST if len(found.accuracy) == 1 else f"{ROBUST}/{head}"
        values[f"{prefix}/acc"] = found.mean[head]
        values |= {f"{prefix}/{name}/acc": float(np.mean(row)) for name, row in rows.items()}
    return values


def _keep_metrics(connection: Connection, job: JobRecord, result: dict[str, Any], commit: int, now: float) -> None:
    found = RobustnessResult.model_validate(result)
    connection.execute(text(f"DELETE FROM metric_series WHERE run = :run AND name LIKE '{ROBUST}/%'"), {"run": job.run})
    progress = connection.execute(text("SELECT progress FROM run WHERE id = :run"), {"run": job.run}).scalar_one()
    # Like those of the test, they are figures of the whole run and stand at its end.
    step = int(from_json(progress).get("step") or found.step)
    curves = {
        (job.run, name): Curve(np.array([step], np.int64), np.array([value]), np.array([now]))
        for name, value in robustness_metrics(found).items()
    }
    add_curves(connection, curves, commit)


Effect = Callable[[Connection, JobRecord, dict[str, Any], int, float], None]
EFFECTS: Final[dict[str, Effect]] = {"evaluate": _keep_predictions, "robustness": _keep_metrics}
"""By kind of job. A ValidationError is raised for a result that is none of this kind."""
