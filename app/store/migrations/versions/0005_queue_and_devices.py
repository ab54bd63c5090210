"""The queue is read along its index, a run can name its worker, a worker says which GPU it has"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WAITING = sa.text("status = 'queued' AND deleted_at IS NULL")


def _index(columns: list[str | sa.TextClause]) -> None:
    op.drop_index("ix_run_queue", "run")
    op.create_index("ix_run_queue", "run", columns, sqlite_where=WAITING, postgresql_where=WAITING)


def upgrade() -> None:
    op.add_column("run", sa.Column("worker_wanted", sa.String(), nullable=False, server_default=""))
    op.add_column("worker", sa.Column("device_index", sa.Integer(), nullable=False, server_default="0"))
    # With the status in front SQLite prefers it to the other indexes of that column.
    _index(["status", sa.text("priority DESC"), "rank", "number", "device_wanted", "worker_wanted"])


def downgrade() -> None:
    _index(["priority", "rank", "number", "device_wanted"])
    op.drop_column("worker", "device_index")
    op.drop_column("run", "worker_wanted")
