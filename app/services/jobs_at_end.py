"""The jobs on a trained model that its run asked for at its launch: queued in the transaction that ends the run.

So a run has them once, whatever ends afterward; the server starts them when it hears of it, or when it starts itself.
"""

from __future__ import annotations

from sqlalchemy import Connection

from app.contract.model_jobs import RobustnessOptions
from app.store import model_job
from app.store.run import load_run


def queue_jobs(connection: Connection, run_id: str, now: float) -> bool:
    """Queue the jobs of a run that has just succeeded; return whether there are any."""
    run = load_run(connection, run_id)
    if run is None or not run.config.robustness:
        return False
    model_job.add_job(connection, run_id, "robustness", RobustnessOptions().model_dump(mode="json"), now)
    return True
