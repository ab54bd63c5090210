"""Copies of the user's own datasets on a machine that does not share the server's data folder.

A copy is used like an own dataset. It has a file FETCHED, whose time says when a run used it last.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from app.contract.own_datasets import DESCRIPTION, version_folder
from app.contract.shared_files import SharedFolder, dataset_manifest
from worker.data.datasets import DatasetError
from worker.data.shared_files import NotFetched, Source, fetch_folder, read_manifest, wait_for
from worker.reporting.error_text import reason
from worker.reporting.progress import LogFunction, ProgressFunction, ProgressReporter

FETCHED: Final = ".fetched"
# A run that has just fetched a version opens it within seconds; from then on it does not need the name any more.
IN_USE_SECONDS: Final = 600.0


def ensure_dataset(
    key: str,
    folder: Path,
    source: Source,
    most_bytes: float,
    log: LogFunction,
    progress: ProgressFunction | None = None,
) -> None:
    """Fetch a dataset, ``NAME@VERSION``, unless it is there; nothing happens for one that comes with Runyard.

    folder: that of all datasets. most_bytes: what all copies together may take; those that no run has used for longest
    are removed first. Whatever `log` or `progress` raises ends the work. Raises DatasetError.
    """
    name, at, version = key.partition("@")
    if not at:
        return
    place = version_folder(folder, name, version)
    try:
        if not place.exists():
            reporter = ProgressReporter(log, progress)
            reporter.begin(f"fetching {key} from the artifact store")
            manifest = dataset_manifest(name, version)
            shared = wait_for(partial(read_manifest, source, manifest), reporter, key)
            if DESCRIPTION not in {each.name for each in shared.files}:
                raise NotFetched(f"{manifest} in the artifact store describes no dataset")
            _make_room(folder, shared, most_bytes, log)
            fetch_folder(source, shared, place, reporter)
            (place / FETCHED).touch()
            log(f"fetched {key}: {shared.size / 1e6:,.1f} MB")
        elif (place / FETCHED).exists():
            os.utime(place / FETCHED)
    except NotFetched as error:
        raise DatasetError(f"{key} is not on this machine: {error}") from error
    except OSError as error:
        raise DatasetError(
            f"could not write {key} to {folder} ({reason(error)}); check the folder's permissions and free space"
        ) from error


def _make_room(folder: Path, wanted: SharedFolder, most_bytes: float, log: LogFunction) -> None:
    """Remove copies, the least recently used first, until there is room for another. Never fails for a lack of it."""
    copies = sorted(
        (mark.stat().st_mtime, mark.parent)
        for mark in (folder / "own").glob(f"*/*/{FETCHED}")
        if not mark.parent.name.startswith(".")
    )
    sizes = {place: sum(path.stat().st_size for path in place.iterdir()) for _, place in copies}
    total = sum(sizes.values()) + wanted.size
    for used_at, place in copies:
        if total <= most_bytes or time.time() - used_at < IN_USE_SECONDS:
            return
        # At once out of sight: a half-removed copy is none.
        gone = place.with_name(f".{place.name}.gone")
        with suppress(FileNotFoundError):  # another run was faster
            os.rename(place, gone)
            shutil.rmtree(gone)
            log(f"removed the copy of {place.parent.name}@{place.name}, which no run has used for longest")
        total -= sizes[place]
