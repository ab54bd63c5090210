"""Indexes along which the run table is read, however it is sorted"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

THERE = sa.text("deleted_at IS NULL")
GONE = sa.text("deleted_at IS NOT NULL")
FILTERED = ("status", "family", "size", "dataset")
SORTED = ("name", "recipe", "seed", "epochs", "batch_size", "lr", "params", "attempt")
TIMES = ("created_at", "started_at", "ended_at", "trained_seconds")
LISTED = {column: ["number", *(other for other in FILTERED if other != column)] for column in FILTERED}
LISTED |= {column: ["number"] for column in (*SORTED, *TIMES)}


def upgrade() -> None:
    # SQLite adds no column that it would have to fill.
    stored = op.get_bind().dialect.name != "sqlite"
    trained = sa.Column("trained_seconds", sa.Float(), sa.Computed("ended_at - started_at", persisted=stored))
    op.add_column("run", trained)
    for column in ("created_at", "dataset", "family"):
        op.drop_index(f"ix_run_{column}", "run")
    for column, others in LISTED.items():
        op.create_index(f"ix_run_listed_{column}", "run", [column, *others], sqlite_where=THERE, postgresql_where=THERE)
    op.create_index("ix_run_trash", "run", ["deleted_at"], sqlite_where=GONE, postgresql_where=GONE)
    op.add_column("metric_series", sa.Column("run_number", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE metric_series SET run_number = (SELECT number FROM run WHERE run.id = metric_series.run)")
    op.create_index("ix_metric_series_best", "metric_series", ["name", "best", "run_number"])


def downgrade() -> None:
    op.drop_index("ix_metric_series_best", "metric_series")
    op.drop_column("metric_series", "run_number")
    op.drop_index("ix_run_trash", "run")
    for column in LISTED:
        op.drop_index(f"ix_run_listed_{column}", "run")
    for column in ("created_at", "dataset", "family"):
        op.create_index(f"ix_run_{column}", "run", [column])
    op.drop_column("run", "trained_seconds")
