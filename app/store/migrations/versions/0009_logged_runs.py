"""Runs that were trained elsewhere, and the experiments under which scripts log them"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("origin", sa.String(), nullable=False, server_default=""))
    experiment = op.create_table(
        "experiment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tags", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "logged_run",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("experiment", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("tags", sa.String(), nullable=False),
        sa.Column("inputs", sa.String(), nullable=False),
        sa.Column("told_end", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["experiment"], ["experiment.id"]),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_index("ix_logged_run_experiment", "logged_run", ["experiment", "run"])
    # The one that a client logs to which names none.
    op.bulk_insert(experiment, [{"id": 0, "name": "Default", "tags": "{}", "created_at": 0.0, "updated_at": 0.0}])


def downgrade() -> None:
    op.drop_index("ix_logged_run_experiment", "logged_run")
    op.drop_table("logged_run")
    op.drop_table("experiment")
    op.drop_column("run", "origin")
