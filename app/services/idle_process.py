"""A process that answers questions one at a time, and ends when nothing has been asked for a while."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from app.contract.errors import Unavailable
from app.services.answering_process import AnsweringProcess

Found = TypeVar("Found")
Ask = Callable[[tuple[str, ...], dict[str, Any]], dict[str, Any]]
"""Asks a process with this version and these arguments a question. Raises Unavailable."""


class IdleProcess:
    """Asks ``python -m MODULE``. ``title``: what messages call the process. ``idle_seconds``: when it ends unasked."""

    def __init__(self, module: str, title: str, logger: logging.Logger, idle_seconds: Callable[[], float]) -> None:
        self._process = AnsweringProcess(module, title, logger)
        # One thread asks, so that answers match their questions even if a request is cancelled in between.
        self._thread = ThreadPoolExecutor(1, module.rsplit(".", 1)[-1])
        self._idle_seconds = idle_seconds
        self._idle: threading.Timer | None = None
        self._asked_at = 0.0

    async def run(self, work: Callable[[Ask], Found]) -> Found:
        """The result of ``work``, which asks, in the thread that does. Raises Unavailable at shutdown."""
        try:
            waiting = self._thread.submit(self._run, work)
        except RuntimeError as error:
            raise Unavailable("the server is shutting down") from error
        return await asyncio.wrap_future(waiting)

    def close(self) -> None:
        """End the process for good."""
        if self._idle is not None:
            self._idle.cancel()
        self._process.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Callable[[Ask], Found]) -> Found:
        if self._idle is not None:
            self._idle.cancel()
        try:
            return work(self._process.ask)
        finally:
            self._asked_at = time.monotonic()
            self._idle = threading.Timer(self._idle_seconds(), self._end_when_idle)
            self._idle.daemon = True
            self._idle.start()

    def _end_when_idle(self) -> None:
        # In the thread that asks, so that it never ends during a question.
        with suppress(RuntimeError):
            self._thread.submit(self._end_if_idle)

    def _end_if_idle(self) -> None:
        if time.monotonic() - self._asked_at >= self._idle_seconds():
            self._process.end()
