"""Checkpoints that are kept to fork from, what each run was trained with, and how far a lost run had come"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("lost_at_step", sa.Integer(), nullable=True))
    op.create_table(
        "kept_checkpoint",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("ends_epoch", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "step"),
    )
    op.create_table(
        "run_capture",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run"),
    )


def downgrade() -> None:
    op.drop_table("run_capture")
    op.drop_table("kept_checkpoint")
    op.drop_column("run", "lost_at_step")
