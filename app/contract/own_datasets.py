"""The user's own datasets: a folder ``own/NAME/VERSION`` each, which never changes once it exists."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from app.contract.dataset import Dataset, Target
from app.contract.dataset_import import Choices, Part, Report

logger = logging.getLogger("runyard.datasets")

FORMAT: Final = 1
TARGET: Final = "class"
"""Name of the one target of such a dataset."""
DESCRIPTION: Final = "dataset.json"
TENSORS: Final = "images.safetensors"
"""For each part ``PART.images``, uint8 [N, C, H, W], and ``PART.class``, int64 [N]."""
ITEMS: Final = "items.csv"
"""A row for each image, in the order of the tensors: split, index, label, path."""
NEWEST: Final = "newest"
"""A file in the folder of a name with the version that is used where none is given."""

PARTS: Final[tuple[Part, ...]] = ("train", "validation", "test")


class OwnDataset(BaseModel):
    """One version of a dataset, as described in its folder.

    ``version``: the first 12 hexadecimal digits of a checksum of its images, labels and class names. ``source``: what
    it was made from, and ``source_sha256``: checksum of that file, or of the names and contents of the folder.
    ``mean``, ``std``: of the training images per channel, scaled to 0..1. ``bytes``: size on disk.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = FORMAT
    name: str
    version: str
    source: str
    source_sha256: str
    created_at: float
    channels: int
    side: int
    classes: tuple[str, ...]
    images: dict[Part, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bytes: int
    choices: Choices
    report: Report

    @property
    def dataset(self) -> Dataset:
        """What a run needs to know of it."""
        return Dataset(
            name=self.name,
            title=self.name,
            channels=self.channels,
            side=self.side,
            targets=(Target(TARGET, len(self.classes), 1.0, self.classes),),
            train=self.images["train"],
            validation=self.images["validation"],
            test=self.images["test"],
            source=f"imported from {self.source}",
            offline=True,
            mean=self.mean,
            std=self.std,
            megabytes=0.0,
            version=self.version,
        )


def version_folder(folder: Path, name: str, version: str) -> Path:
    """Folder of one version; ``folder``: that of all datasets."""
    return folder / "own" / name / version


class OwnDatasets:
    """The own datasets in a folder, read again when one was added, changed or deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "own"
        self._stamp: object = None
        self._found: Mapping[str, Mapping[str, OwnDataset]] = MappingProxyType({})
        self._newest: Mapping[str, str] = MappingProxyType({})
        self._versions: dict[tuple[str, str], OwnDataset] = {}

    def names(self) -> list[str]:
        """Names in alphabetical order."""
        self._read()
        return list(self._found)

    def versions(self, name: str) -> list[OwnDataset]:
        """All versions of a name, the one in use first, then the newest first; empty for a name that does not exist."""
        self._read()
        newest = self._newest.get(name)
        found = self._found.get(name, {}).values()
        return sorted(found, key=lambda each: (each.version != newest, -each.created_at))

    def get(self, name: str, version: str = "") -> OwnDataset | None:
        """A version of a dataset, by default the one in use."""
        self._read()
        return self._found.get(name, {}).get(version or self._newest.get(name, ""))

    def _read(self) -> None:
        stamp = self._now()
        if stamp == self._stamp:
            return
        found: dict[str, dict[str, OwnDataset]] = {}
        newest: dict[str, str] = {}
        for name in sorted(each.name for each in _folders(self._folder)):
            versions = {}
            for folder in _folders(self._folder / name):
                if (known := self._version(name, folder)) is not None:
                    versions[folder.name] = known
            if versions:
                found[name] = versions
                newest[name] = _in_use(self._folder / name, versions)
        self._found, self._newest, self._stamp = found, newest, stamp

    def _now(self) -> object:
        """What changes whenever a dataset was added, deleted or replaced by another version."""
        return tuple(
            (each.name, each.stat().st_mtime_ns) for each in (self._folder, *_folders(self._folder)) if each.exists()
        )

    def _version(self, name: str, folder: Path) -> OwnDataset | None:
        key = (name, folder.name)
        if key not in self._versions:
            try:
                self._versions[key] = OwnDataset.model_validate_json((folder / DESCRIPTION).read_bytes())
            except (OSError, ValidationError) as error:
                logger.warning("cannot read the dataset in %s: %s", folder, error)
                return None
        return self._versions[key]


def _folders(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if not each.name.startswith(".") and each.is_dir()]
    except FileNotFoundError:
        return []


def _in_use(folder: Path, versions: Mapping[str, OwnDataset]) -> str:
    try:
        named = (folder / NEWEST).read_text().strip()
    except FileNotFoundError:
        named = ""
    return named if named in versions else max(versions.values(), key=lambda each: each.created_at).version
