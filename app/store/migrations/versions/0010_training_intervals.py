"""When a run was trained, and how long before: the time between attempts is none"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("stretches", sa.String(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("run", "stretches")
