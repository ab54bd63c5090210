"""Alembic runs this to migrate over the connection that it was handed."""

from alembic import context
from sqlmodel import SQLModel

from app.store import (  # noqa: F401  their tables register themselves
    imported_entry,
    lineage,
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
    run,
    run_file,
    saved_view,
    step_record,
    sweep,
    undo,
    worker,
)

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
