"""The index for sorting found runs by a metric has the runs of each metric together"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_metric_series_number", "metric_series")
    op.create_index("ix_metric_series_number", "metric_series", ["name", "run_number", "best"])


def downgrade() -> None:
    op.drop_index("ix_metric_series_number", "metric_series")
    op.create_index("ix_metric_series_number", "metric_series", ["run_number", "name", "best"])
