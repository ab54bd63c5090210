"""Runs of vit and convnext_v2 name the initialization that was the only one when they were launched"""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BEFORE = "trunc_normal_002"
RUNS = sa.text("SELECT id, config FROM run WHERE family IN ('vit', 'convnext_v2') AND origin = '' AND config != ''")


def upgrade() -> None:
    _change(lambda options: options.setdefault("init", BEFORE))


def downgrade() -> None:
    _change(lambda options: options.pop("init", None))


def _change(change: Callable[[dict[str, Any]], Any]) -> None:
    connection = op.get_bind()
    for run, text in connection.execute(RUNS).all():
        config = json.loads(text)
        change(config.setdefault("options", {}))
        connection.execute(
            sa.text("UPDATE run SET config = :config WHERE id = :id"), {"id": run, "config": json.dumps(config)}
        )
