"""Pictures of augmented training images, drawn by a separate process (``python -m worker.data.augmented_batch``)."""

from __future__ import annotations

import logging
from pathlib import Path

from app.contract.spec import RunConfig
from app.services.picture_process import PictureProcess

logger = logging.getLogger("runyard.augmentation")

MAX_PICTURES = 64
# The fields of a RunConfig that change what a training image looks like.
MIXED = ("mixup", "cutmix", "erasing")
MOVED = ("random_crop_scale", "crop_padding", "flip", "rotation", "color_jitter")
DRAWN = ("dataset", "seed", "normalization", *MOVED, *MIXED)


def is_augmented(config: RunConfig) -> bool:
    """Whether training images are changed at all."""
    return any(getattr(config, name) for name in (*MOVED, *MIXED))


class AugmentedBatches:
    """Draws pictures, one at a time, and keeps the newest ones. folder: where the datasets are."""

    def __init__(self, folder: Path) -> None:
        title = "the process that draws augmented images"
        self._process = PictureProcess("worker.data.augmented_batch", (str(folder),), title, logger, MAX_PICTURES)

    async def picture(self, config: RunConfig) -> bytes:
        """A PNG: rows of training images, each with a row below it that shows them augmented.

        Raises Unavailable if the dataset has not been prepared here, or the process does not respond.
        """
        return await self._process.draw(_key(config), config.model_dump())

    def kept(self, config: RunConfig) -> bytes | None:
        """The picture, if it was drawn before."""
        return self._process.kept(_key(config))

    def close(self) -> None:
        """End the process for good."""
        self._process.close()


def _key(config: RunConfig) -> str:
    return config.model_dump_json(include=set(DRAWN))
