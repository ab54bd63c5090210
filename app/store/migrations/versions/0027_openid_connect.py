"""People at an OpenID Connect provider, and sign-ins that are under way there"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_identity",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("linked_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["user_account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("issuer", "subject"),
        sa.UniqueConstraint("user", "issuer"),
    )
    op.create_table(
        "sign_in_attempt",
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("browser_hash", sa.String(), nullable=False),
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("verifier", sa.String(), nullable=False),
        sa.Column("redirect", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_sign_in_attempt_address", "sign_in_attempt", ["address", "created_at"])
    op.create_index("ix_sign_in_attempt_created_at", "sign_in_attempt", ["created_at"])


def downgrade() -> None:
    op.drop_table("sign_in_attempt")
    op.drop_table("user_identity")
