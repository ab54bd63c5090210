"""People take turns in the queue, have limits, and can be restored after they were removed; an index by author"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

WAITING = sa.text("status = 'queued' AND deleted_at IS NULL")
LISTED = sa.text("deleted_at IS NULL")
LIMITS = ("most_running", "most_queued")


def upgrade() -> None:
    op.create_table(
        "queue_turn",
        sa.Column("priority", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("priority", "person"),
    )
    columns: list[str | sa.TextClause] = [
        "status",
        "created_by",
        sa.text("priority DESC"),
        "rank",
        "number",
        "device_wanted",
        "worker_wanted",
        "deleted_at",
    ]
    op.create_index("ix_run_turn", "run", columns, sqlite_where=WAITING, postgresql_where=WAITING)
    op.create_index(
        "ix_run_listed_created_by", "run", ["created_by", "number"], sqlite_where=LISTED, postgresql_where=LISTED
    )
    op.add_column("user_account", sa.Column("removed_at", sa.Float(), nullable=True))
    for limit in LIMITS:
        op.add_column("user_account", sa.Column(limit, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    # Who was removed must not be able to sign in again.
    op.execute("DELETE FROM user_account WHERE removed_at IS NOT NULL")
    for column in (*reversed(LIMITS), "removed_at"):
        op.drop_column("user_account", column)
    op.drop_index("ix_run_listed_created_by", "run")
    op.drop_index("ix_run_turn", "run")
    op.drop_table("queue_turn")
