"""Gives workers of other machines the user's own datasets and architectures, through the artifact store.

Runs in a thread of the recorder, and only if the artifact store is not the data folder's: what workers of this machine
need, they find there.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event

from app.contract.command_key import KeyFileError, architecture_key, ensure_key, read_key
from app.contract.own_datasets import OwnDatasets, version_folder
from app.contract.settings import Settings
from app.contract.shared_files import (
    ROOT,
    SharedFolder,
    dataset_manifest,
    describe_contents,
    describe_file,
    read_architectures,
)
from app.services import artifacts
from app.services.own_dataset_trash import trashed_versions

logger = logging.getLogger("runyard.recorder")

LOOK_SECONDS = 1.0
RETRY_SECONDS = 10.0
BUFFER_BYTES = 2**20


class SharedArchitectures:
    """The folder of RUNYARD_MODELS_PATH as it is now, signed.

    ``waiting``: contents by path in the artifact store that are not there yet. They are those that a run was promised,
    whatever happens to the files meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        shared = settings.artifact_url is not None and settings.models_path is not None
        self._folder = settings.models_path.expanduser().absolute() if shared and settings.models_path else None
        self._data_dir = settings.data_dir
        self._stamp: object = None
        self._found: SharedFolder | None = None
        self.waiting: dict[str, bytes] = {}

    def now(self) -> SharedFolder | None:
        """Describe the files, which are read again only after a change; None if there is nothing to share."""
        if self._folder is None:
            return None
        try:
            stamp = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in self._folder.glob("*.py")]
            if stamp != self._stamp:
                key = architecture_key(read_key(ensure_key(self._data_dir)))
                contents = read_architectures(self._folder)
                self._found, self._stamp = describe_contents(contents).signed(key), stamp
                self.waiting |= {each.path: contents[each.name] for each in self._found.files}
        except (OSError, KeyFileError) as error:
            logger.warning("workers of other machines do not get the architectures in %s: %s", self._folder, error)
            return None
        return self._found


class Sharing:
    """Copies to the artifact store what is new, and removes the copies of datasets that were deleted for good."""

    def __init__(self, settings: Settings, architectures: SharedArchitectures) -> None:
        self._settings = settings
        self._datasets = OwnDatasets(settings.datasets)
        self._architectures = architectures
        self._done: set[str] = set()
        self._kept: frozenset[str] | None = None

    def run(self, stop: Event) -> None:
        """Look for something new until stopped; returns at once where nothing is to be shared."""
        if self._settings.artifact_url is None:
            return
        pause = LOOK_SECONDS
        while not stop.wait(pause):
            try:
                self.step()
                pause = LOOK_SECONDS
            except Exception as error:  # each kind of store has errors of its own
                logger.warning("could not copy datasets or architectures to the artifact store, retrying: %s", error)
                pause = RETRY_SECONDS

    def step(self) -> None:
        """Copy what is new, and remove what is no longer needed. Raises whatever the store raises."""
        for path, content in list(self._architectures.waiting.items()):
            if artifacts.size(self._settings, path) != len(content):
                artifacts.write(self._settings, path, content)
            self._architectures.waiting.pop(path)
        versions = [(name, each.version) for name in self._datasets.names() for each in self._datasets.versions(name)]
        for name, version in versions:
            if (manifest := dataset_manifest(name, version)) not in self._done:
                self._share_dataset(name, version, manifest)
                self._done.add(manifest)
        kept = frozenset(dataset_manifest(*each) for each in [*versions, *trashed_versions(self._settings.datasets)])
        if kept != self._kept:
            self._withdraw(kept)
            self._kept = kept

    def _share_dataset(self, name: str, version: str, manifest: str) -> None:
        if artifacts.exists(self._settings, manifest):
            return
        folder = version_folder(self._settings.datasets, name, version)
        began = time.monotonic()
        try:
            files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
            shared = SharedFolder(files=[describe_file(path) for path in files])
            self._copy(folder, shared)
        except FileNotFoundError:
            if not folder.exists():  # it was deleted meanwhile
                return
            raise
        # Last: a worker that finds it finds all files.
        artifacts.write(self._settings, manifest, shared.model_dump_json().encode())
        seconds = time.monotonic() - began
        logger.info("copied %s@%s to the artifact store: %.1f MB in %.1f s", name, version, shared.size / 1e6, seconds)

    def _copy(self, folder: Path, shared: SharedFolder) -> None:
        for each in shared.files:
            if artifacts.size(self._settings, each.path) == each.bytes:
                continue
            # Whatever fails, nothing stays under a name that promises this content.
            with open(folder / each.name, "rb") as source, artifacts.writing(self._settings, each.path) as target:
                digest = hashlib.sha256()
                while chunk := source.read(BUFFER_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
                if digest.hexdigest() != each.sha256:
                    raise OSError(f"{folder / each.name} changed while it was copied")

    def _withdraw(self, kept: Iterable[str]) -> None:
        """Remove the datasets that are not kept, with the files that no other has."""
        found = {path: self._read(path) for path in artifacts.find(self._settings, f"{ROOT}/datasets/*/*.json")}
        gone = set(found) - set(kept)
        needed = {each.path for path, folder in found.items() if path not in gone for each in folder.files}
        for manifest in gone:
            artifacts.remove(self._settings, manifest)
            for path in {each.path for each in found[manifest].files} - needed:
                artifacts.remove(self._settings, path)
            self._done.discard(manifest)
            logger.info("removed %s from the artifact store", manifest)

    def _read(self, manifest: str) -> SharedFolder:
        return SharedFolder.model_validate_json(artifacts.read(self._settings, manifest))
