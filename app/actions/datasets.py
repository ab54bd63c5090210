"""What users do with their own datasets: delete them, restore them, choose the version in use."""

from __future__ import annotations

import os
import time

from sqlalchemy import Connection, text

from app.contract.datasets import DATASETS
from app.contract.errors import Conflict, NotFound
from app.contract.own_datasets import NEWEST, OwnDataset
from app.services.own_dataset_trash import restore_dataset, trash_dataset, trashed
from app.store.database import reading, writing
from app.store.run import TERMINAL
from app.store.undo import record_act
from app.web.dependencies import Parts

DELETED = "delete dataset"
"""Kind of the action that an undo finds."""


def find_own(name: str, version: str = "") -> OwnDataset:
    """A dataset of the user. Raises NotFound, and Conflict for one that comes with Runyard."""
    if name in DATASETS.builtin:
        raise Conflict(f"{name} comes with Runyard; only your own datasets can be changed")
    own = DATASETS.own
    found = own.get(name, version) if own else None
    if found is None:
        shown = f"{name[:40]}@{version[:40]}" if version else name[:40]
        raise NotFound(f"no dataset '{shown}'; datasets: {', '.join(DATASETS)}")
    return found


def delete_dataset(parts: Parts, name: str) -> str:
    """Move a dataset with all its versions to the trash; returns the action's ID for an undo.

    Raises NotFound, and Conflict while a run that has not ended needs it.
    """
    base, at, _ = name.partition("@")
    find_own(base)
    if at:
        raise Conflict(f"a version cannot be deleted alone; delete {base} with all its versions")
    # In one transaction with the check: a launch looks for its dataset within its own.
    with writing(parts.engine) as connection:
        if needed := _needed(connection, name):
            raise Conflict(needed)
        entry = trash_dataset(parts.settings.datasets, name)
        return record_act(connection, DELETED, f"Dataset {name} deleted.", {"entry": entry}, time.time())


def why_not_deletable(parts: Parts, name: str) -> str:
    """Which runs that have not ended need a dataset, and what to do; empty if there is none."""
    with reading(parts.engine) as connection:
        return _needed(connection, name)


def _needed(connection: Connection, name: str) -> str:
    numbers = (
        connection.execute(
            text(
                "SELECT number FROM run WHERE dataset = :name AND deleted_at IS NULL AND origin = ''"
                f" AND status NOT IN {TERMINAL} ORDER BY number"
            ),
            {"name": name},
        )
        .scalars()
        .all()
    )
    if not numbers:
        return ""
    shown = ", ".join(f"#{number}" for number in numbers[:5]) + (", …" if len(numbers) > 5 else "")
    if len(numbers) == 1:
        return f"run {shown} uses {name}; stop it or wait until it ends"
    return f"runs {shown} use {name}; stop them or wait until they end"


def restore_deleted(parts: Parts, name: str) -> None:
    """Restore the dataset with this name that was deleted last. Raises NotFound, Conflict."""
    entries = [entry for entry in trashed(parts.settings.datasets) if entry.partition("@")[0] == name]
    if not entries:
        raise NotFound(f"no dataset '{name[:40]}' is in the trash")
    if not restore_dataset(parts.settings.datasets, entries[0]):
        raise Conflict(f"a dataset named {name} already exists; delete it first")


def use_version(parts: Parts, name: str, version: str) -> OwnDataset:
    """Use this version where none is given. Raises NotFound."""
    found = find_own(name, version)
    folder = parts.settings.datasets / "own" / name
    fresh = folder / f".{NEWEST}.{os.getpid()}.new"
    fresh.write_text(version)
    os.replace(fresh, folder / NEWEST)
    return found


def runs_on(parts: Parts) -> dict[str, int]:
    """Number of runs by dataset, without deleted ones."""
    with reading(parts.engine) as connection:
        rows = connection.execute(
            text("SELECT dataset, count(*) FROM run WHERE deleted_at IS NULL AND origin = '' GROUP BY dataset")
        )
        return {str(name): int(count) for name, count in rows}
