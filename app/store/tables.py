"""All tables of the database: importing this module defines them."""

from __future__ import annotations

from sqlmodel import SQLModel

from app.store import (  # noqa: F401  each defines its tables
    alias,
    command,
    imported_entry,
    lineage,
    live_change,
    log,
    logged_model,
    metric,
    model_job,
    notification,
    prediction_file,
    program,
    queue,
    received_points,
    registered_model,
    run_file,
    saved_view,
    step_record,
    sweep,
    undo,
    worker,
    worker_token,
)

METADATA = SQLModel.metadata
