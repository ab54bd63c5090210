"""Alembic runs this to migrate over the connection that it was handed."""

from alembic import context
from sqlmodel import SQLModel

from app.store import lineage, log, metric, notification, queue, run, saved_view, sweep, undo, worker  # noqa: F401  their tables register themselves

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
