"""Files that retention removes, and what it has removed of each run"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "removal",
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("path"),
    )
    op.add_column("run", sa.Column("removed", sa.String(), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("run", "removed")
    op.drop_table("removal")
