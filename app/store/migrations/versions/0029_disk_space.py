"""The disks and clocks of workers, and why Runyard itself starts no run"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker", sa.Column("disk", sa.String(), nullable=False, server_default=""))
    op.add_column("worker", sa.Column("disk_state", sa.String(), nullable=False, server_default="ok"))
    op.add_column("worker", sa.Column("clock_off", sa.Float(), nullable=False, server_default="0"))
    op.add_column("queue_state", sa.Column("held", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("queue_state", "held")
    op.drop_column("worker", "clock_off")
    op.drop_column("worker", "disk_state")
    op.drop_column("worker", "disk")
