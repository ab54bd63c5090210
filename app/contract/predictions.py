"""Kept predictions: the files in which they are stored, without torch.

A successful run has one file ``RUN/FENCE/predictions.safetensors`` in the artifact store. While it trains, the history
of its validation images is in files ``RUN/FENCE/history-EPOCH.safetensors``, EPOCH being the first one inside. Tensors:

- ``PART/HEAD/labels``, uint16 [N], in the order of the dataset's split
- ``PART/HEAD/true``, float16 [N]: the probability of the true class
- ``PART/HEAD/probabilities``, float16 [N, C]; from `TOP` classes on, the ``TOP`` largest ones in descending order, with
  their classes in ``PART/HEAD/classes``, uint16 [N, TOP]
- ``history/epochs``, int32 [E], ascending and without duplicates
- ``history/HEAD/predicted``, uint16 [E, N], and ``history/HEAD/confidence``, float16 [E, N], of validation images
- ``history/HEAD/labels``, uint16 [N], of these images; only in the first history file of an attempt

PART is "validation" or "test"; the metadata entry ``runyard`` is a JSON `Header`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT: Final = 1
TOP: Final = 20
"""From this many classes on, only the largest probabilities of an image are stored, this many of them."""
SCORED: Final = ("validation", "test")
FILE: Final = "predictions.safetensors"


def history_file(epoch: int | Literal["*"]) -> str:
    """The name of the history file whose first epoch this is; ``*`` gives a pattern for all."""
    return f"history-{epoch}.safetensors"


ScoredPart = Literal["validation", "test"]
Floats = npt.NDArray[np.float16]
Classes = npt.NDArray[np.uint16]
Epochs = npt.NDArray[np.int32]


class Header(BaseModel):
    """Where predictions come from. ``epoch``, ``step``: of the checkpoint (of the newest epoch, in a history file).

    ``dataset``: its key, NAME or NAME@VERSION. ``targets``: the class names of each head, the main head first.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = FORMAT
    run: str
    fence: int
    checkpoint: str = ""
    epoch: int
    step: int
    dataset: str
    targets: dict[str, tuple[str, ...]]
    created_at: float


@dataclass(frozen=True, eq=False)
class HeadPredictions:
    """What one head predicted for the images of one split.

    labels: uint16 [N]. true: float16 [N], the probability of the true class. probabilities: float16 [N, K] with K the
    number of classes, or with their ``classes``, uint16 [N, K], the K largest in descending order.
    """

    labels: Classes
    true: Floats
    probabilities: Floats
    classes: Classes | None = None

    @classmethod
    def of(cls, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.integer]) -> HeadPredictions:
        """From all probabilities, float32 [N, C], and the true classes [N]."""
        count, classes = probabilities.shape
        true = probabilities[np.arange(count), labels].astype(np.float16)
        if classes < TOP:
            return cls(labels.astype(np.uint16), true, _rounded(probabilities))
        top = np.argpartition(-probabilities, TOP - 1, 1)[:, :TOP]
        found = np.take_along_axis(probabilities, top, 1)
        # Stable, so that the order of equal ones does not depend on the machine.
        order = np.lexsort((top, -found), 1)
        top, found = np.take_along_axis(top, order, 1), np.take_along_axis(found, order, 1)
        return cls(labels.astype(np.uint16), true, found.astype(np.float16), top.astype(np.uint16))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predicted(self) -> Classes:
        """The most probable class of each image, uint16 [N]."""
        if self.classes is not None:
            return np.asarray(self.classes[:, 0])
        return np.asarray(self.probabilities.argmax(1), np.uint16)

    @cached_property
    def confidence(self) -> Floats:
        """The probability of the predicted class, float16 [N]."""
        return np.asarray(self.probabilities[:, 0] if self.classes is not None else self.probabilities.max(1))


def _rounded(probabilities: npt.NDArray[np.float32]) -> Floats:
    """As float16, with the most probable class of each image still the first of the largest."""
    rounded = probabilities.astype(np.float16)
    best = probabilities.argmax(1)
    tied = np.flatnonzero(rounded.argmax(1) != best)
    rounded[tied, best[tied]] = np.nextafter(rounded[tied, best[tied]], np.float16(2))
    return rounded


@dataclass(frozen=True, eq=False)
class History:
    """Predictions for the validation images after each epoch (1 is the first).

    epochs: int32 [E], ascending. predicted, by head: uint16 [E, N]. confidence, by head: float16 [E, N], of that class.
    labels, by head: uint16 [N], the true classes; empty where they are known from elsewhere.
    """

    epochs: Epochs
    predicted: dict[str, Classes]
    confidence: dict[str, Floats]
    labels: dict[str, Classes] = field(default_factory=dict)

    def until(self, epoch: int) -> History:
        """The same without the epochs after this one."""
        count = int(np.searchsorted(self.epochs, epoch, "right"))
        heads = self.predicted
        return History(
            self.epochs[:count],
            {head: self.predicted[head][:count] for head in heads},
            {head: self.confidence[head][:count] for head in heads},
            self.labels,
        )

    @classmethod
    def merged(cls, parts: Iterable[History]) -> History | None:
        """One history of several in the order of training; None for none.

        What begins with an epoch that is there already was trained again from there: it replaces that and all later.
        """
        rows: dict[int, tuple[History, int]] = {}
        labels: dict[str, Classes] = {}
        for part in parts:
            labels = part.labels or labels
            first = min((int(epoch) for epoch in part.epochs), default=0)
            kept = {epoch: row for epoch, row in rows.items() if epoch < first} if len(part.epochs) else rows
            rows = kept | {int(epoch): (part, row) for row, epoch in enumerate(part.epochs)}
        if not rows:
            return None
        ordered = [rows[epoch] for epoch in sorted(rows)]
        heads = list(ordered[-1][0].predicted)
        return cls(
            np.array(sorted(rows), np.int32),
            {head: np.stack([part.predicted[head][row] for part, row in ordered]) for head in heads},
            {head: np.stack([part.confidence[head][row] for part, row in ordered]) for head in heads},
            labels,
        )


@dataclass(frozen=True, eq=False)
class Predictions:
    """The content of one file. parts: by split, by head; empty in a history file."""

    header: Header
    parts: Mapping[str, Mapping[str, HeadPredictions]] = field(default_factory=dict)
    history: History | None = None

    def to_bytes(self) -> bytes:
        """The content of the file."""
        tensors: dict[str, npt.NDArray[np.generic]] = {}
        for part, heads in self.parts.items():
            for head, found in heads.items():
                tensors[f"{part}/{head}/labels"] = found.labels
                tensors[f"{part}/{head}/true"] = found.true
                tensors[f"{part}/{head}/probabilities"] = found.probabilities
                if found.classes is not None:
                    tensors[f"{part}/{head}/classes"] = found.classes
        if self.history is not None:
            tensors["history/epochs"] = self.history.epochs
            for head, predicted in self.history.predicted.items():
                tensors[f"history/{head}/predicted"] = predicted
                tensors[f"history/{head}/confidence"] = self.history.confidence[head]
            if not self.parts:
                tensors |= {f"history/{head}/labels": labels for head, labels in self.history.labels.items()}
        contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
        return save(contiguous, {"runyard": self.header.model_dump_json()})

    @classmethod
    def from_bytes(cls, content: bytes) -> Predictions:
        """Inverse of to_bytes; raises ValueError if the content is not such a file."""
        try:
            length = int.from_bytes(content[:8], "little")
            header = Header.model_validate_json(json.loads(content[8 : 8 + length])["__metadata__"]["runyard"])
            tensors = load(content)
            parts = {
                part: {
                    head: HeadPredictions(
                        tensors[f"{part}/{head}/labels"],
                        tensors[f"{part}/{head}/true"],
                        tensors[f"{part}/{head}/probabilities"],
                        tensors.get(f"{part}/{head}/classes"),
                    )
                    for head in header.targets
                }
                for part in SCORED
                if any(name.startswith(f"{part}/") for name in tensors)
            }
            history = None
            if "history/epochs" in tensors:
                history = History(
                    tensors["history/epochs"],
                    {head: tensors[f"history/{head}/predicted"] for head in header.targets},
                    {head: tensors[f"history/{head}/confidence"] for head in header.targets},
                    {head: tensors[name] for head in header.targets if (name := f"history/{head}/labels") in tensors},
                )
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError("not a file of predictions, or a truncated one") from error
        return cls(header, parts, history)
