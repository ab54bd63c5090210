"""Histograms and texts of runs, and how much of each event file was imported"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "step_record",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "kind", "name", "number"),
    )
    op.create_table(
        "imported_entry",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "file", "kind", "name"),
    )
    op.create_index("ix_imported_entry_file", "imported_entry", ["file"])
    # Earlier imports did not record from which file a point came.
    op.execute(
        "INSERT INTO imported_entry (run, file, kind, name, entries)"
        " SELECT run.id, '', 'metric', metric_series.name, metric_series.points"
        " FROM metric_series JOIN run ON run.id = metric_series.run WHERE run.origin = 'tensorboard'"
    )


def downgrade() -> None:
    op.drop_table("imported_entry")
    op.drop_table("step_record")
