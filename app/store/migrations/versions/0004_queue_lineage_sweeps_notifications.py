"""Order and pause of the queue, lineage of runs, sweeps, notifications"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_run_queue": ("status = 'queued' AND deleted_at IS NULL", ["priority", "rank", "number", "device_wanted"]),
    "ix_run_sweep": ("sweep IS NOT NULL", ["sweep", "number"]),
    "ix_run_parent": ("parent IS NOT NULL", ["parent", "number"]),
}


def upgrade() -> None:
    for column in (
        sa.Column("rank", sa.Float(), nullable=False, server_default="0"),
        sa.Column("stop_reason", sa.String(), nullable=False, server_default=""),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("relation", sa.String(), nullable=False, server_default=""),
        sa.Column("parent_step", sa.Integer(), nullable=True),
        sa.Column("sweep", sa.String(), nullable=True),
        sa.Column("sweep_values", sa.String(), nullable=False, server_default="{}"),
    ):
        op.add_column("run", column)
    op.execute("UPDATE run SET rank = queued_at")
    for name, (condition, columns) in INDEXES.items():
        op.create_index(name, "run", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
    op.create_table(
        "queue_state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("paused_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO queue_state (id) VALUES (1)")
    op.create_table(
        "sweep",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("spec", sa.String(), nullable=False),
        sa.Column("planned", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_sweep_status", "sweep", ["status"])
    _notifications()


def _notifications() -> None:
    op.create_table(
        "notice",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(), nullable=True),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run", "rule"),
    )
    op.create_index("ix_notice_created_at", "notice", ["created_at"])
    op.create_table(
        "webhook",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("kinds", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("webhook", sa.String(), nullable=False),
        sa.Column("notice", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=True),
        sa.Column("delivered_at", sa.Float(), nullable=True),
        sa.Column("answer", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["webhook"], ["webhook.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["notice"], ["notice.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("webhook", "notice", "next_at"):
        op.create_index(f"ix_delivery_{column}", "delivery", [column])
    op.create_table(
        "rule",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("run", sa.String(), nullable=True),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("comparison", sa.String(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    for table in ("delivery", "webhook", "notice", "rule"):
        op.drop_table(table)
    op.drop_table("sweep")
    op.drop_table("queue_state")
    for name in INDEXES:
        op.drop_index(name, "run")
    for column in ("sweep_values", "sweep", "parent_step", "relation", "parent", "stop_reason", "rank"):
        op.drop_column("run", column)
