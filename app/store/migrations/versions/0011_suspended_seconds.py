"""The time for which a machine was suspended counts in no duration"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

LISTED = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    op.add_column("worker", sa.Column("asleep_seconds", sa.Float(), nullable=False, server_default="0"))
    op.add_column("run", sa.Column("asleep_seconds", sa.Float(), nullable=False, server_default="0"))
    _count("ended_at - started_at - asleep_seconds")


def downgrade() -> None:
    _count("ended_at - started_at")
    op.drop_column("run", "asleep_seconds")
    op.drop_column("worker", "asleep_seconds")


def _count(seconds: str) -> None:
    """Compute ``trained_seconds`` in another way: a generated column is dropped and added again."""
    stored = op.get_bind().dialect.name != "sqlite"
    op.drop_index("ix_run_listed_trained_seconds", "run")
    op.drop_column("run", "trained_seconds")
    op.add_column("run", sa.Column("trained_seconds", sa.Float(), sa.Computed(seconds, persisted=stored)))
    op.create_index(
        "ix_run_listed_trained_seconds",
        "run",
        ["trained_seconds", "number"],
        sqlite_where=LISTED,
        postgresql_where=LISTED,
    )
