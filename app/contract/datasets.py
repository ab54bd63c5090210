"""All datasets that a run can train on: those that come with Runyard, and the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from app.contract.builtin_datasets import BUILTIN_DATASETS
from app.contract.dataset import Dataset
from app.contract.own_datasets import OwnDatasets


class UnknownDataset(ValueError):
    """There is no dataset with this name; the message lists those that exist."""


class Datasets(Mapping[str, Dataset]):
    """Datasets by name, the built-in ones first. ``NAME@VERSION`` also finds a version of an imported dataset."""

    def __init__(self) -> None:
        self._builtin = {each.name: each for each in BUILTIN_DATASETS}
        self._own: OwnDatasets | None = None
        self._listed: dict[str, Dataset] = {}

    def open(self, folder: Path) -> None:
        """Include the own datasets in this folder, and no longer those of another one."""
        self._own = OwnDatasets(folder)

    def include(self, datasets: Iterable[Dataset]) -> None:
        """Include own datasets that a server has listed, of which there is no folder here."""
        for each in datasets:
            self._listed |= {each.name: each, each.key: each} if each.name not in self._listed else {each.key: each}

    def close(self) -> None:
        """Include no own datasets."""
        self._own = None
        self._listed = {}

    @property
    def builtin(self) -> Mapping[str, Dataset]:
        """Those that come with Runyard."""
        return self._builtin

    @property
    def own(self) -> OwnDatasets | None:
        """The user's own; None before `open`."""
        return self._own

    def __getitem__(self, key: str) -> Dataset:
        if key in self._builtin:
            return self._builtin[key]
        if key in self._listed:
            return self._listed[key]
        name, _, version = key.partition("@")
        own = self._own.get(name, version) if self._own else None
        if own is None:
            raise KeyError(key)
        return own.dataset

    def __iter__(self) -> Iterator[str]:
        yield from self._builtin
        yield from (key for key, each in self._listed.items() if key == each.name)
        if self._own:
            yield from self._own.names()

    def __len__(self) -> int:
        return sum(1 for _ in self)


DATASETS: Final = Datasets()
"""Every dataset by name, in display order."""


def dataset(key: str) -> Dataset:
    """Return the dataset with this name, or ``NAME@VERSION``. Raises UnknownDataset."""
    try:
        return DATASETS[key]
    except KeyError:
        raise UnknownDataset(f"no dataset {key!r}; datasets: {', '.join(DATASETS)}") from None
