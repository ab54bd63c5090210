"""Pictures of datasets as networks were trained and tested on them, with their true classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from app.contract.datasets import UnknownDataset, dataset
from worker.data.datasets import Data, is_prepared, load
from worker.data.importing.tasks import Pixels
from worker.inference.errors import Refused

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """An image of a dataset, by its key: raw uint8 [C, side, side]. ``labels``: its true class by head."""

    dataset: str
    raw: Pixels
    labels: dict[str, int]

    @property
    def pixels(self) -> Pixels:
        """As an image [H, W] or [H, W, 3]."""
        last = np.ascontiguousarray(self.raw.transpose(1, 2, 0))
        return last[:, :, 0] if last.shape[2] == 1 else last


class StoredPictures:
    """Reads pictures of prepared datasets; nothing is downloaded. Keeps the last dataset open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data: Data | None = None

    def get(self, key: str, part: Part, index: int) -> StoredPicture:
        """One picture. Raises Refused."""
        try:
            info = dataset(key)
        except UnknownDataset as error:
            raise Refused("picture", str(error)) from error
        if self._data is None or self._data.dataset.key != info.key:
            if not (is_prepared(key, self._folder) or info.offline):
                raise Refused("picture", f"images of {info.name} can be picked once a run has prepared it")
            # Measured targets would be measured first, which takes minutes.
            stored = [target.name for target in info.targets if not target.measured]
            self._data = load(key, stored, self._folder, lambda sentence: None)
        split = self._data.split(part)
        if index >= len(split):
            raise Refused(
                "picture", f"{info.name} has {len(split):,} {part} images, the last one is {len(split) - 1:,}"
            )
        labels = {name: int(values[index]) for name, values in split.targets.items()}
        return StoredPicture(info.key, np.array(split.images[index].numpy()), labels)
