"""All points of a model's metrics are kept, not only the newest"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

SERIES = ["model", "name", "run", "dataset_name", "dataset_digest"]
COLUMNS = ", ".join([*SERIES, "step", "at", "value"])


def upgrade() -> None:
    _recreate([*SERIES, "step", "at"], "SELECT {columns} FROM earlier")


def downgrade() -> None:
    newest = "ROW_NUMBER() OVER (PARTITION BY {series} ORDER BY step DESC, at DESC) AS place"
    _recreate(SERIES, "SELECT {columns} FROM (SELECT {columns}, " + newest + " FROM earlier) AS ranked WHERE place = 1")


def _recreate(key: list[str], query: str) -> None:
    op.drop_index("ix_model_metric_run", "model_metric")
    op.rename_table("model_metric", "earlier")
    op.create_table(
        "model_metric",
        *(sa.Column(name, sa.String(), nullable=False) for name in SERIES),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["logged_model.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        # PostgreSQL keeps the name of the old table's key.
        sa.PrimaryKeyConstraint(*key, name=f"model_metric_of_{len(key)}"),
    )
    rows = query.format(columns=COLUMNS, series=", ".join(SERIES))
    op.execute(f"INSERT INTO model_metric ({COLUMNS}) {rows}")
    op.drop_table("earlier")
    op.create_index("ix_model_metric_run", "model_metric", ["run"])
