"""A process that draws pictures on request, one at a time; it ends when nothing has been asked for a while."""

from __future__ import annotations

import base64
import logging
from collections import OrderedDict
from typing import Any

from app.contract.errors import NotFound, Unavailable
from app.services.idle_process import Ask, IdleProcess

IDLE_SECONDS = 120.0
"""The process ends after this long without a question: it holds libraries and images in memory."""


class PictureProcess:
    """Asks ``python -m MODULE ARGUMENTS``, which answers with {"png": "base64"}, {"reason": "…"} if it cannot draw, or
    {"missing": "…"} if there is no such image.

    ``title``: what messages call the process. ``kept``: number of pictures to keep in memory.
    """

    def __init__(self, module: str, arguments: tuple[str, ...], title: str, logger: logging.Logger, kept: int) -> None:
        self._command = ("", *arguments)
        self._process = IdleProcess(module, title, logger, lambda: IDLE_SECONDS)
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._most = kept

    async def draw(self, key: str, question: dict[str, Any]) -> bytes:
        """A PNG, drawn unless the picture with this key is kept; one without a key is not kept. Raises NotFound
        or Unavailable with the reason.
        """
        if (kept := self.kept(key)) is not None:
            return kept
        return await self._process.run(lambda ask: self._draw(key, question, ask))

    def kept(self, key: str) -> bytes | None:
        """The picture with this key, if it was drawn before."""
        return self._pictures.get(key)

    def close(self) -> None:
        """End the process for good."""
        self._process.close()

    def _draw(self, key: str, question: dict[str, Any], ask: Ask) -> bytes:
        if (kept := self.kept(key)) is not None:
            return kept
        answer = ask(self._command, question)
        if "missing" in answer:
            raise NotFound(answer["missing"])
        if "reason" in answer:
            raise Unavailable(answer["reason"])
        picture = base64.b64decode(answer["png"])
        if key:
            self._pictures[key] = picture
        if len(self._pictures) > self._most:
            self._pictures.popitem(last=False)
        return picture
