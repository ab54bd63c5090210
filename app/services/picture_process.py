"""A process that draws pictures on request, one at a time; it ends when nothing has been asked for a while."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from app.contract.errors import Unavailable
from app.services.answering_process import AnsweringProcess

IDLE_SECONDS = 120.0
"""The process ends after this long without a question: it holds libraries and images in memory."""


class PictureProcess:
    """Asks ``python -m MODULE ARGUMENTS``, which answers with {"png": "base64"}, or {"reason": "…"} if it cannot draw.

    ``title``: what messages call the process. ``kept``: number of pictures to keep in memory.
    """

    def __init__(self, module: str, arguments: tuple[str, ...], title: str, logger: logging.Logger, kept: int) -> None:
        self._command = ("", *arguments)
        self._process = AnsweringProcess(module, title, logger)
        self._thread = ThreadPoolExecutor(1, module.rsplit(".", 1)[-1])
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._most = kept
        self._idle: threading.Timer | None = None
        self._asked_at = 0.0

    async def draw(self, key: str, question: dict[str, Any]) -> bytes:
        """A PNG, drawn unless the picture with this key is kept; one without a key is not kept. Raises Unavailable with
        the reason.
        """
        if (kept := self.kept(key)) is not None:
            return kept
        try:
            waiting = self._thread.submit(self._draw, key, question)
        except RuntimeError as error:
            raise Unavailable("the server is shutting down") from error
        return await asyncio.wrap_future(waiting)

    def kept(self, key: str) -> bytes | None:
        """The picture with this key, if it was drawn before."""
        return self._pictures.get(key)

    def close(self) -> None:
        """End the process for good."""
        if self._idle is not None:
            self._idle.cancel()
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _draw(self, key: str, question: dict[str, Any]) -> bytes:
        if (kept := self.kept(key)) is not None:
            return kept
        if self._idle is not None:
            self._idle.cancel()
        try:
            answer = self._process.ask(self._command, question)
        finally:
            self._asked_at = time.monotonic()
            self._idle = threading.Timer(IDLE_SECONDS, self._end_when_idle)
            self._idle.daemon = True
            self._idle.start()
        if "reason" in answer:
            raise Unavailable(answer["reason"])
        picture = base64.b64decode(answer["png"])
        if key:
            self._pictures[key] = picture
        if len(self._pictures) > self._most:
            self._pictures.popitem(last=False)
        return picture

    def _end_when_idle(self) -> None:
        # In the thread that asks, so that it never ends during a question.
        with suppress(RuntimeError):
            self._thread.submit(self._end_if_idle)

    def _end_if_idle(self) -> None:
        if time.monotonic() - self._asked_at >= IDLE_SECONDS:
            self._process.end()
