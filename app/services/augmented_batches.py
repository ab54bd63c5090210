"""Pictures of augmented training images, drawn by a separate process (``python -m worker.data.augmented_batch``)."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from app.contract.errors import Unavailable
from app.contract.spec import RunConfig
from app.services.answering_process import AnsweringProcess

logger = logging.getLogger("runyard.augmentation")

IDLE_SECONDS = 120.0
"""The process ends after this long without a question: it holds torch and a dataset in memory."""

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
        self._command = ("", str(folder))
        self._process = AnsweringProcess("worker.data.augmented_batch", "the process that draws images", logger)
        self._thread = ThreadPoolExecutor(1, "augmented-batches")
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._idle: threading.Timer | None = None
        self._asked_at = 0.0

    async def picture(self, config: RunConfig) -> bytes:
        """A PNG: rows of training images, each with a row below it that shows them augmented.

        Raises Unavailable if the dataset has not been prepared here, or the process does not respond.
        """
        if (kept := self.kept(config)) is not None:
            return kept
        try:
            waiting = self._thread.submit(self._draw, config)
        except RuntimeError as error:
            raise Unavailable("the server is shutting down") from error
        return await asyncio.wrap_future(waiting)

    def kept(self, config: RunConfig) -> bytes | None:
        """The picture, if it was drawn before."""
        return self._pictures.get(_key(config))

    def close(self) -> None:
        """End the process for good."""
        if self._idle is not None:
            self._idle.cancel()
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _draw(self, config: RunConfig) -> bytes:
        if (kept := self.kept(config)) is not None:
            return kept
        if self._idle is not None:
            self._idle.cancel()
        try:
            answer = self._process.ask(self._command, config.model_dump())
        finally:
            self._asked_at = time.monotonic()
            self._idle = threading.Timer(IDLE_SECONDS, self._end_when_idle)
            self._idle.daemon = True
            self._idle.start()
        if "reason" in answer:
            raise Unavailable(answer["reason"])
        picture = base64.b64decode(answer["png"])
        self._pictures[_key(config)] = picture
        if len(self._pictures) > MAX_PICTURES:
            self._pictures.popitem(last=False)
        return picture

    def _end_when_idle(self) -> None:
        # In the thread that asks, so that it never ends during a question.
        with suppress(RuntimeError):
            self._thread.submit(self._end_if_idle)

    def _end_if_idle(self) -> None:
        if time.monotonic() - self._asked_at >= IDLE_SECONDS:
            self._process.end()


def _key(config: RunConfig) -> str:
    return config.model_dump_json(include=set(DRAWN))
