"""Runs one import, from its request to a preview or to a dataset."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Final

from app.contract.builtin_datasets import BUILTIN_DATASETS
from app.contract.dataset_import import DATASET_NAME, DATASET_NAME_RULE, ENDED, ChoicesMade, ImportRequest, ImportState
from worker.data.importing.arrangement import arrange
from worker.data.importing.draft import Draft, load
from worker.data.importing.drafting import read_draft
from worker.data.importing.errors import ImportCancelled, ImportFailed, sentence
from worker.data.importing.findings import report
from worker.data.importing.import_folder import ImportFolder, remove
from worker.data.importing.version_folder import unfinished_folder, write_version

logger = logging.getLogger("runyard.importing")

_ID: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")
_CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_import(datasets: Path, import_id: str, *, processes: int | None = None) -> ImportState:
    """Go on with the import in ``datasets/imports/IMPORT_ID`` until its preview or its end; returns its state.

    Does nothing while another process runs it. processes: that read images; by default one for each core. Whatever goes
    wrong with the source or the disk ends the import with the state "failed". Raises ValueError for an id that cannot
    be one, and FileNotFoundError if there is no such import.
    """
    if not _ID.match(import_id):
        raise ValueError(f"{import_id!r} is not an import ID")
    folder = ImportFolder(datasets / "imports" / import_id)
    job = _Job(datasets, import_id, folder, max(1, processes or _CORES))
    while True:
        with folder.locked() as mine:
            if not mine:
                return folder.state()
            state = job.run()
        # Whoever starts this program while the lock is taken relies on this process to see what has changed.
        if not job.wanted():
            return state


class _Job:
    def __init__(self, datasets: Path, import_id: str, folder: ImportFolder, processes: int) -> None:
        self._datasets = datasets
        self._id = import_id
        self._folder = folder
        self._processes = processes

    def wanted(self) -> bool:
        """Whether the user has cancelled or chosen something else since the preview."""
        state = self._folder.state()
        if state.status != "preview":
            return False
        try:
            request = self._folder.request()
            if self._folder.cancelled() or request is None:
                return True
            made = self._folder.choices(request)
        except ImportFailed:
            return True  # `run` reports it
        return made.keep or made.number != state.shown

    def run(self) -> ImportState:
        """Whatever is to be done now."""
        folder = self._folder
        state = folder.state()
        if state.status in ENDED:
            folder.remove_files()
            return state
        try:
            remove(unfinished_folder(self._datasets, self._id))
            return self._go_on(state)
        except ImportCancelled:
            return self._end(ImportState(status="cancelled"))
        except Exception as error:
            if not isinstance(error, ImportFailed):
                logger.warning("import %s failed", self._id, exc_info=error)
            return self._end(state.model_copy(update={"status": "failed", "reason": sentence(error)}))

    def _end(self, state: ImportState) -> ImportState:
        # First, since there may be no space for the state before.
        self._folder.remove_files()
        return self._folder.write(state)

    def _go_on(self, state: ImportState) -> ImportState:
        folder = self._folder
        if folder.cancelled():
            raise ImportCancelled
        request = folder.request()
        if request is None:
            raise ImportFailed("the upload was interrupted; upload it again")
        _check_name(request.name)
        draft = load(folder.draft)
        while True:
            made = folder.choices(request)
            if state.status == "preview" and made.number == state.shown and not made.keep:
                return state
            draft = self._draft_for(request, made, draft)
            folder.begin("keeping" if made.keep else "reading", "looking for duplicates and outliers")
            try:
                arrangement = arrange(draft, made.choices)
            except ImportFailed as error:
                if not state.previewed:
                    raise
                # Nothing is lost by choices that make no dataset: the preview goes on, and says why.
                folder.refuse(made)
                state = folder.write(
                    ImportState(status="preview", shown=made.number, reason=str(error), previewed=True)
                )
                continue
            found = report(arrangement, folder.tick)
            folder.write_report(found)
            draft.save_order({str(part): rows for part, rows in arrangement.rows.items()})
            if made.keep:
                folder.begin("keeping", "writing the dataset", found.images, shown=made.number)
                version = write_version(
                    self._datasets, self._id, request.name, request.original, arrangement, found, folder.tick
                )
                folder.remove_files()
                return folder.write(ImportState(status="ready", shown=made.number, version=version))
            state = folder.write(ImportState(status="preview", shown=made.number, previewed=True))

    def _draft_for(self, request: ImportRequest, made: ChoicesMade, draft: Draft | None) -> Draft:
        """The draft that there is, if it is for these choices; otherwise a new one."""
        choices = made.choices
        if draft is not None and draft.fit == choices.fit and draft.side == (choices.side or draft.suited):
            return draft
        return read_draft(self._folder, Path(request.source), request.original, choices, self._processes)


def _check_name(name: str) -> None:
    if not DATASET_NAME.match(name):
        raise ImportFailed(f"'{name[:60]}' cannot be the name of a dataset; {DATASET_NAME_RULE}")
    if name in {each.name for each in BUILTIN_DATASETS}:
        raise ImportFailed(f"{name} is the name of a dataset that comes with Runyard; choose another")
