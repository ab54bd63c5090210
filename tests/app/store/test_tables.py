"""All tables are defined once `app.store.tables` is imported, so that nothing is left out when everything is copied."""

from __future__ import annotations

import subprocess
import sys

from sqlalchemy import Engine, inspect

DEFINED = "from app.store.tables import METADATA; print(*METADATA.tables)"


def test_importing_it_defines_every_table_of_a_migrated_database(engine: Engine) -> None:
    # In a process of its own: here, other tests have imported other modules.
    defined = subprocess.run([sys.executable, "-c", DEFINED], capture_output=True, text=True, check=True).stdout.split()
    migrated = [name for name in inspect(engine).get_table_names() if not name.startswith("searched_")]
    assert sorted(defined) == sorted(set(migrated) - {"alembic_version"})
    assert {"user_account", "audit_event", "api_token"} < set(defined)
