"""Predictions of trained networks, made by a separate process (``python -m worker.inference``)."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from starlette.concurrency import run_in_threadpool

from app.contract.errors import Conflict, Invalid, RunyardError
from app.contract.playground import Center, Changes, Swept
from app.contract.settings import Settings
from app.contract.spec import FieldError
from app.services.idle_process import IdleProcess

logger = logging.getLogger("runyard.inference")

IDLE_SECONDS = 600.0
"""The process ends after this long without a question: it holds networks in memory."""
MOST_BYTES = 2**30
"""Bytes of the networks that it keeps."""


@dataclass(frozen=True)
class Weights:
    """A checkpoint to predict with. ``step``: distinguishes it from earlier ones under the same path."""

    path: str
    step: int


@dataclass(frozen=True)
class Upload:
    """A picture as it was sent; ``name``: of its file, if it has one."""

    name: str
    content: bytes


@dataclass(frozen=True)
class TestPicture:
    """A picture of a dataset, given by its key."""

    __test__ = False

    dataset: str
    part: Literal["train", "validation", "test"]
    index: int


@dataclass(frozen=True)
class Batch:
    """Predictions for pictures. ``probabilities``: by head, [pictures][classes]. ``labels``: the classes by head."""

    dataset: str
    labels: dict[str, list[str]]
    probabilities: dict[str, list[list[float]]]


class Inference:
    """Asks the process, which starts with the first question and again after an own architecture was edited."""

    def __init__(self, settings: Settings) -> None:
        models_path = settings.models_path
        self._models_path = None if models_path is None else Path(os.path.abspath(models_path.expanduser()))
        self._arguments = (str(settings.datasets), settings.artifacts, str(MOST_BYTES))
        self._process = IdleProcess("worker.inference", "the process that predicts", logger, lambda: IDLE_SECONDS)

    async def predict(
        self, first: Weights, again: Callable[[], Weights], pictures: Sequence[Upload], center: Center
    ) -> Batch:
        """Predict the classes of pictures with the checkpoint ``first``.

        again: where the checkpoint is now, asked if its file has been replaced meanwhile. Raises Invalid for a picture
        that cannot be used, Conflict if the checkpoint cannot, Unavailable.
        """
        question = {
            "ask": "predict",
            "pictures": [base64.b64encode(each.content).decode() for each in pictures],
            "center": center,
        }
        answer = await self._ask(question | {"network": first.__dict__})
        if answer.get("refused", {}).get("kind") == "gone" and (now := await run_in_threadpool(again)) != first:
            answer = await self._ask(question | {"network": now.__dict__})
        if "refused" in answer:
            raise refusal(answer["refused"], [each.name for each in pictures])
        return Batch(**answer)

    async def look(
        self,
        networks: dict[str, Weights],
        picture: Upload | TestPicture,
        center: Center = "auto",
        changes: Changes | None = None,
        sweep: Swept = "",
        why: bool = False,
    ) -> dict[str, Any]:
        """What networks, given by any key, see in a picture; as `worker.inference.answers` says.

        Raises Invalid if the picture cannot be used, Unavailable.
        """
        if isinstance(picture, Upload):
            asked: dict[str, Any] = {"content": base64.b64encode(picture.content).decode()}
        else:
            asked = dict(picture.__dict__)
        answer = await self._ask(
            {
                "ask": "look",
                "networks": [{"key": key} | weights.__dict__ for key, weights in networks.items()],
                "picture": asked,
                "center": center,
                "changes": (changes or Changes()).model_dump(),
                "sweep": sweep,
                "why": why,
            }
        )
        if "refused" in answer:
            raise refusal(answer["refused"], [picture.name] if isinstance(picture, Upload) else [])
        return answer

    def close(self) -> None:
        """End the process for good."""
        self._process.close()

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return await self._process.run(lambda ask: ask(self._command(), question))

    def _command(self) -> tuple[str, ...]:
        """What the process was started with; changes when an own architecture is edited, which it has imported."""
        if self._models_path is None:
            return ("", *self._arguments)
        stamps = []
        for file in sorted(self._models_path.glob("*.py")):
            with suppress(OSError):
                found = file.stat()
                stamps.append(f"{file.name} {found.st_mtime_ns} {found.st_size}")
        return ("\n".join(stamps), *self._arguments, str(self._models_path))


def refusal(refused: dict[str, Any], names: Sequence[str]) -> RunyardError:
    """The error that says why a question was refused; ``names``: of the pictures that were sent."""
    reason: str = refused["reason"]
    if refused["kind"] != "picture":
        return Conflict(reason)
    place = refused["picture"]
    if place < len(names):
        name = names[place][:80] or f"image {place + 1}"
        reason = f"{name}{': ' if reason.startswith('its ') else ' '}{reason}"
    return Invalid(reason, [FieldError("pictures", reason)])
