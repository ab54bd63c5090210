"""Files that scripts log to runs, and contents of the artifact store that are not, or no longer, such a file"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "run_file",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "path"),
    )
    op.create_table(
        "loose_file",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "key"),
    )
    op.create_index("ix_loose_file_created_at", "loose_file", ["created_at"])


def downgrade() -> None:
    op.drop_table("loose_file")
    op.drop_table("run_file")
