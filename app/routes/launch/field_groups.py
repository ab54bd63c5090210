"""Which fields the form has beside the network's own, in what order, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from app.contract.spec import Compile, Device, Nonfinite, Normalization, Optimizer, Precision, Schedule


@dataclass(frozen=True)
class Row:
    """A field of a RunSpec as the form asks for it.

    ``kind``: whole, number, choice, words or text. ``only``: what must be chosen elsewhere for it to matter, as
    "schedule cosine one_cycle".
    """

    name: str
    label: str
    kind: str
    hint: str = ""
    only: str = ""


@dataclass(frozen=True)
class Group:
    """Fields that belong together, folded away until someone wants them."""

    key: str
    title: str
    rows: tuple[Row, ...]


MAIN = (
    Row("epochs", "Epochs", "whole", "times through the training images"),
    Row("batch_size", "Batch size", "whole", "images in one step"),
    Row("seed", "Seed", "whole", "the same seed trains the same network"),
    Row("seeds", "Seeds", "whole", "so many runs of each, from this seed on"),
    Row("optimizer", "Optimizer", "choice"),
    Row("lr", "Learning rate", "number", "the highest of its schedule"),
    Row("schedule", "Schedule", "choice", "how the learning rate goes on"),
    Row("name", "Name", "words", "instead of family, size and dataset"),
)

GROUPS = (
    Group(
        "optimization",
        "Optimization",
        (
            Row("weight_decay", "Weight decay", "number"),
            Row("momentum", "Momentum", "number", "0 to below 1", "optimizer sgd"),
            Row("warmup", "Warm-up", "number", "the share of all steps in which the rate rises"),
            Row("lr_min", "Lowest learning rate", "number", "where the schedule ends", "schedule cosine one_cycle"),
            Row("plateau_factor", "Plateau factor", "number", "what the rate is multiplied by", "schedule plateau"),
            Row(
                "plateau_patience",
                "Plateau patience",
                "whole",
                "epochs without a lower validation loss",
                "schedule plateau",
            ),
            Row("clip_norm", "Clip norm", "number", "largest gradient norm; 0 does not clip"),
            Row("label_smoothing", "Label smoothing", "number", "0 to below 1"),
            Row("early_stopping", "Early stopping", "whole", "epochs without a better validation; 0 never stops"),
            Row(
                "on_nonfinite",
                "If not finite",
                "choice",
                "when the loss becomes NaN or infinite: stop, or go on",
            ),
        ),
    ),
    Group(
        "augmentation",
        "Augmentation",
        (
            Row("crop_padding", "Random crop", "whole", "pixels of padding before the crop; 0 does not crop"),
            Row("flip", "Flip", "choice", "mirror training images at random"),
            Row("rotation", "Rotation", "number", "at random by up to so many degrees; 0 does not turn"),
            Row("normalization", "Normalization", "choice", "dataset: its own mean and deviation; half: 0.5 and 0.5"),
        ),
    ),
    Group(
        "device",
        "Device",
        (
            Row("device", "Device", "choice", "auto takes what the worker has"),
            Row("find_batch", "Largest batch", "choice", "find the largest that fits, instead of the batch size"),
            Row("worker", "Worker", "words", "its host, or the beginning of its id; blank: the next free one"),
            Row("precision", "Precision", "choice", "auto: the faster one, as tried when the run starts"),
            Row("compile", "Compile", "choice", "auto: for a long run on a GPU, where a trial says that it pays"),
            Row("deterministic", "Deterministic", "choice", "only repeatable operations, and no trial of faster ones"),
        ),
    ),
    Group(
        "bookkeeping",
        "Bookkeeping",
        (
            Row("tags", "Tags", "words", "separated by commas"),
            Row("priority", "Priority", "whole", "higher starts first"),
            Row("keep_checkpoints", "Kept checkpoints", "whole", "ends of epochs, evenly spread, to fork from"),
            Row("notes", "Notes", "text"),
        ),
    ),
)

ROWS = (*MAIN, *(row for group in GROUPS for row in group.rows))
LABELS = {row.name: row.label for row in ROWS}
CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "normalization": get_args(Normalization),
    "precision": get_args(Precision),
    "compile": get_args(Compile),
    "device": (*get_args(Device), *(f"cuda:{index}" for index in range(8))),
    "flip": ("true", "false"),
    "deterministic": ("true", "false"),
    "find_batch": ("true", "false"),
    "on_nonfinite": get_args(Nonfinite),
}
DISPLAY_NAMES = {
    "true": "yes",
    "false": "no",
    "one_cycle": "one cycle",
    "32": "float32",
    "bf16": "bfloat16",
    "go_on": "continue",
}
"""Choices displayed under another name."""
