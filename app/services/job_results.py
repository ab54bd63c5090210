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
    if not connection.execute(_TESTED, {"run": job.run}).scalar_one():
        _add_figures(connection, job.run, test_metrics(kept), kept.step, commit, now)


_TESTED: Final = text("SELECT count(*) FROM metric_series WHERE run = :run AND name LIKE 'test/%'")


def test_metrics(found: EvaluateResult) -> dict[str, float]:
    """The metrics of a run that ended before its test: ``test/acc``; with several heads, ``test/HEAD/acc``, …"""
    accuracies = found.accuracy.get("test", {})
    return {"test/acc" if len(accuracies) == 1 else f"test/{head}/acc": value for head, value in accuracies.items()}


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
    _add_figures(connection, job.run, robustness_metrics(found), found.step, commit, now)


def _add_figures(
    connection: Connection, run: str, figures: dict[str, float], otherwise: int, commit: int, now: float
) -> None:
    """Add figures of the whole run, which stand at its end; ``otherwise``: their step if no progress is known."""
    progress = connection.execute(text("SELECT progress FROM run WHERE id = :run"), {"run": run}).scalar_one()
    step = int(from_json(progress).get("step") or otherwise)
    curves = {
        (run, name): Curve(np.array([step], np.int64), np.array([value]), np.array([now]))
        for name, value in figures.items()
    }
    add_curves(connection, curves, commit)


Effect = Callable[[Connection, JobRecord, dict[str, Any], int, float], None]
EFFECTS: Final[dict[str, Effect]] = {"evaluate": _keep_predictions, "robustness": _keep_metrics}
"""By kind of job. A ValidationError is raised for a result that is none of this kind."""
