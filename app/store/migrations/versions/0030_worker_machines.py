"""Tokens with which other machines join, and what a worker understands"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worker_token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("uses_left", sa.BigInteger(), nullable=True),
        sa.Column("last_host", sa.String(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.add_column("worker", sa.Column("protocol", sa.BigInteger(), nullable=False, server_default="1"))
    op.add_column("worker", sa.Column("commands", sa.BigInteger(), nullable=False, server_default="1"))


def downgrade() -> None:
    op.drop_column("worker", "commands")
    op.drop_column("worker", "protocol")
    op.drop_table("worker_token")
