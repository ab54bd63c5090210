"""Levels before points: SQLite walks through all of a row that lies before what is read"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FIGURES = ("id", "series", "tier", "commit_number", "first_step", "last_step", "points")
POINTS = ("steps", "point_values", "times")
LEVEL = ("level_steps", "level_values")


def upgrade() -> None:
    _reorder(*FIGURES, *LEVEL, *POINTS)


def downgrade() -> None:
    _reorder(*FIGURES, *POINTS, *LEVEL)


def _reorder(*columns: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("metric_chunk", recreate="always", partial_reordering=[columns]):
            pass
