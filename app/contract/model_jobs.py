"""Jobs on trained models: what the server asks ``python -m worker.model_jobs``, and what it answers.

The server writes one JSON line, a `JobRequest`, and keeps the pipe open: the process ends when it closes. The answers
are JSON lines, each one a `JobMessage`: shares of what is done, and at last a result or the reason why there is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.contract.events import Checkpoint, PredictionsKept

JobKind = Literal["evaluate", "robustness", "export"]
ExportFormat = Literal["onnx", "torch_export", "safetensors"]


class JobOptions(BaseModel):
    """The options of a kind that has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RobustnessOptions(JobOptions):
    """``seed``: of the noise and of everything else that is drawn."""

    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0


class ExportOptions(JobOptions):
    """``preprocessing``: whether the file takes raw pixels and normalizes them itself; weights alone never do."""

    format: ExportFormat
    preprocessing: Annotated[bool, Field(strict=True)] = True


OPTIONS: Final[dict[str, type[JobOptions]]] = {
    "evaluate": JobOptions,
    "robustness": RobustnessOptions,
    "export": ExportOptions,
}
"""The options of each kind of job."""

WHILE_TRAINING: Final[frozenset[str]] = frozenset()
"""Kinds that may also start while the run is still training, with the best checkpoint so far."""


class JobRequest(BaseModel):
    """A job on ``checkpoint`` of ``run``; ``fence``: the folder of the run in the artifact store to write to.

    ``artifacts``: fsspec URL of the artifact store. ``datasets``: folder of datasets. ``models_path``: folder of the
    user's own architectures.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    job: str
    kind: str
    run: str
    fence: int
    checkpoint: Checkpoint
    options: dict[str, Any] = {}
    artifacts: str
    datasets: Path
    models_path: Path | None = None


class JobMessage(BaseModel):
    """One line of an answer; exactly one field is set. ``reason``: a sentence for the user."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    share: float | None = None
    result: dict[str, Any] | None = None
    reason: str | None = None


class EvaluateResult(PredictionsKept):
    """The file that an evaluation wrote; ``accuracy``: by split, then by head, from 0 to 1."""

    accuracy: dict[str, dict[str, float]]


class RobustnessResult(BaseModel):
    """Accuracies on the changed test images, from 0 to 1.

    ``accuracy``: by head, then by corruption, one for each of the `strengths`. ``clean``: by head, of the unchanged
    images. ``mean``: by head, over all corruptions and strengths. ``parameters``: what each strength is, in words.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset: str
    images: int
    seed: int
    epoch: int
    step: int
    strengths: int
    clean: dict[str, float]
    mean: dict[str, float]
    accuracy: dict[str, dict[str, list[float]]]
    parameters: dict[str, list[str]]


class ExportedFile(BaseModel):
    """A file in the run's folder ``exports`` in the artifact store."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    bytes: int


class ExportResult(BaseModel):
    """What an export wrote. ``difference``: the largest one of a probability from torch, on ``pictures`` test pictures.

    ``difference`` is None for weights alone, which nothing was computed with. ``epoch``, ``step``: of the checkpoint.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: ExportFormat
    preprocessing: bool
    files: list[ExportedFile]
    difference: float | None
    pictures: int
    epoch: int
    step: int


EXPORTS: Final = "exports"
"""The folder of a run's exported files in the artifact store, beside those of its attempts."""
