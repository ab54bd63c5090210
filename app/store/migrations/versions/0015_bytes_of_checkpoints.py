"""What a checkpoint that is kept for forks takes in the artifact store; 0 for earlier ones"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("kept_checkpoint", sa.Column("bytes", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("kept_checkpoint", "bytes")
