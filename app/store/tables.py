"""All tables of the database: importing this module defines them."""

from __future__ import annotations

from sqlmodel import SQLModel

from app.store import (  # noqa: F401  each defines its tables
    alias,
    api_token,
    audit_event,
    command,
    disk_state,
    experiment,
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
    removal,
    run,
    run_file,
    saved_view,
    sign_in_attempt,
    sign_in_failure,
    sign_in_session,
    step_record,
    sweep,
    tracked_run,
    turn,
    undo,
    user,
    user_identity,
    welcome_code,
    worker,
    worker_token,
)

METADATA = SQLModel.metadata
