"""Pictures of a dataset's images, drawn by a separate process (``python -m worker.data.sample_sheet``)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from app.contract.dataset_import import Choices, Part
from app.services.picture_process import PictureProcess

logger = logging.getLogger("runyard.datasets")

MAX_PICTURES = 512


class SampleSheets:
    """Draws pictures, one at a time, and keeps the newest ones. folder: where the datasets are."""

    def __init__(self, folder: Path) -> None:
        title = "the process that draws images"
        self._process = PictureProcess("worker.data.sample_sheet", (str(folder),), title, logger, MAX_PICTURES)

    async def of_class(self, dataset: str, label: int, count: int) -> bytes:
        """A PNG: a row of training images of a class of a dataset, given by its key. Raises NotFound, Unavailable."""
        return await self._draw({"dataset": dataset, "label": label, "count": count})

    async def of_image(self, dataset: str, part: Part, index: int) -> bytes:
        """A PNG of a single image of a dataset. Raises NotFound, Unavailable."""
        return await self._draw({"dataset": dataset, "part": part, "index": index})

    async def of_images(self, dataset: str, part: Part, indices: Sequence[int]) -> bytes:
        """A PNG of images of a dataset, `COLUMNS` in a row, scaled down if large. Raises NotFound, Unavailable.

        Browsers keep it; it is not kept in memory here, because there are as many as ways to sort images.
        """
        return await self._process.draw("", {"dataset": dataset, "part": part, "indices": list(indices)})

    async def of_sample(self, number: str, found: str, choices: Choices, count: int) -> bytes:
        """A PNG: a row of an import's images of a class (as it is called in the source), made as ``choices`` say."""
        picture = choices.model_dump(include={"side", "color", "fit"})
        return await self._draw({"import": number, "class": found, "count": count, **picture})

    async def of_draft(self, number: str, part: Part, index: int, version: int) -> bytes:
        """A PNG of a single image that an import has read; ``version``: number of the choices it was read with."""
        return await self._draw({"import": number, "part": part, "index": index, "number": version})

    async def _draw(self, question: dict[str, object]) -> bytes:
        key = " ".join(f"{name}={value}" for name, value in sorted(question.items()))
        return await self._process.draw(key, question)

    def close(self) -> None:
        """End the process for good."""
        self._process.close()
