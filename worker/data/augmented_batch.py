"""``python -m worker.data.augmented_batch FOLDER``: draws augmented training images on request, until EOF.

Questions and answers are JSON objects, one per line. FOLDER contains the datasets. A RunConfig is answered with
{"png": "base64"}, or with {"reason": "…"} if the dataset is not there yet: nothing is downloaded. Errors are answered
with {"fault": "traceback"}.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any

from app.contract.process import imports_without_gc

with imports_without_gc():
    import torch
    from PIL import Image
    from torch import Tensor

    from app.contract.datasets import DATASETS, dataset
    from app.contract.spec import RunConfig
    from worker.data.answering import answer_lines
    from worker.data.datasets import Data, is_prepared, load
    from worker.data.device_dataset import Augment, order
    from worker.data.inputs import Inputs
    from worker.data.mixing import Mixing

COLUMNS = 6
ROWS = 2
"""Rows of images; each has a second row below it, with the same images augmented."""
GAP = 2
"""Transparent pixels between images."""
PAIR_GAP = 8
"""Transparent pixels between an augmented row and the next row of originals."""


def draw(data: Data, config: RunConfig) -> bytes:
    """A PNG of the first images of a run's first batch, with each image's augmented version below it.

    Which random numbers a run draws depends on its batch size; these are others. Classes are not
    balanced here.
    """
    count = min(COLUMNS * ROWS, len(data.train))
    chosen = order(config.seed, 0, len(data.train), count, torch.device("cpu"))[0]
    images = data.train.images[chosen]
    inputs = Inputs.of(data, config)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (inputs.mean, inputs.std))
    generator = torch.Generator().manual_seed(config.seed)
    moved = Augment.of(config)(images, generator)
    normalized = (moved / 255 - mean) / std
    mixed = _mix(normalized, config, generator)
    augmented = ((mixed * std + mean) * 255).round().clamp(0, 255).byte()
    return _png(list(zip(torch.split(images, COLUMNS), torch.split(augmented, COLUMNS), strict=True)))


def _mix(images: Tensor, config: RunConfig, generator: torch.Generator) -> Tensor:
    """A batch uses mixup or CutMix at random if both are on; the picture shows one in each row, mixup first."""
    if not (config.mixup and config.cutmix):
        return Mixing(config.mixup, config.cutmix, config.erasing)(images, generator).images
    kinds = (Mixing(mixup=config.mixup, erasing=config.erasing), Mixing(cutmix=config.cutmix, erasing=config.erasing))
    # A small dataset has a single row.
    return torch.cat(
        [mix(row, generator).images for mix, row in zip(kinds, torch.split(images, COLUMNS), strict=False)]
    )


def _png(pairs: list[tuple[Tensor, Tensor]]) -> bytes:
    """Pairs of rows of images, uint8 [N, C, H, W], as one transparent picture with gaps between them."""
    height, width = pairs[0][0].shape[2:]
    step = 2 * height + GAP + PAIR_GAP
    sheet = torch.zeros(len(pairs) * step - PAIR_GAP, len(pairs[0][0]) * (width + GAP) - GAP, 4, dtype=torch.uint8)
    tops = [number * step + below for number in range(len(pairs)) for below in (0, height + GAP)]
    for top, row in zip(tops, (row for pair in pairs for row in pair), strict=True):
        for across, image in enumerate(row):
            left = across * (width + GAP)
            sheet[top : top + height, left : left + width, :3] = image.expand(3, height, width).permute(1, 2, 0)
            sheet[top : top + height, left : left + width, 3] = 255
    file = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(file, "PNG")
    return file.getvalue()


class Sheets:
    """Draws sheets of the datasets in a folder; keeps the last dataset."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data: Data | None = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question."""
        config = RunConfig.model_validate(question)
        name = config.dataset
        if self._data is None or self._data.dataset.key != dataset(name).key:
            if not is_prepared(name, self._folder):
                return {"reason": f"augmented images are shown once a run has prepared {name}"}
            self._data = load(name, config.targets[:1], self._folder, lambda sentence: None)
        return {"png": base64.b64encode(draw(self._data, config)).decode()}


def main(folder: Path) -> None:
    """Answer questions until the input ends."""
    torch.set_num_threads(1)
    DATASETS.open(folder)
    answer_lines(Sheets(folder).answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
