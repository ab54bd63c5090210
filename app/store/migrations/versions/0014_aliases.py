"""Aliases of runs, and the history of their moves"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alias",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("moved_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"]),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("ix_alias_run", "alias", ["run"])
    op.create_table(
        "alias_move",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("before_number", sa.Integer(), nullable=True),
        sa.Column("after_number", sa.Integer(), nullable=True),
        sa.Column("moved_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_alias_move_alias", "alias_move", ["alias"])


def downgrade() -> None:
    op.drop_index("ix_alias_move_alias", "alias_move")
    op.drop_table("alias_move")
    op.drop_index("ix_alias_run", "alias")
    op.drop_table("alias")
