"""The training fields of the launch form: their order, groups, labels, hints and choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from app.contract.spec import Compile, Device, Nonfinite, Normalization, Optimizer, Precision, Schedule


@dataclass(frozen=True)
class Row:
    """A RunSpec field as the form shows it.

    ``kind``: whole, number, choice, words or text. ``only``: the other field and its values for which this field has
    an effect, such as "schedule cosine one_cycle".
    """

    name: str
    label: str
    kind: str
    hint: str = ""
    only: str = ""


@dataclass(frozen=True)
class Group:
    """A group of related fields, collapsed by default."""

    key: str
    title: str
    rows: tuple[Row, ...]


MAIN = (
    Row("epochs", "Epochs", "whole", "passes over the training images"),
    Row("batch_size", "Batch size", "whole", "images per step"),
    Row("seed", "Seed", "whole", "random seed; the same seed reproduces the run"),
    Row("seeds", "Seeds", "whole", "number of seeds (runs per configuration)"),
    Row("optimizer", "Optimizer", "choice"),
    Row("lr", "Learning rate", "number", "peak of the schedule"),
    Row("schedule", "Schedule", "choice", "learning rate over time"),
    Row("name", "Name", "words", "default: family, size and dataset"),
)

GROUPS = (
    Group(
        "optimization",
        "Optimization",
        (
            Row("weight_decay", "Weight decay", "number"),
            Row("momentum", "Momentum", "number", "0 to below 1", "optimizer sgd"),
            Row("warmup", "Warm-up", "number", "fraction of all steps with a rising rate"),
            Row("lr_min", "Minimum learning rate", "number", "end of the schedule", "schedule cosine one_cycle"),
            Row("plateau_factor", "Plateau factor", "number", "multiplies the rate on a plateau", "schedule plateau"),
            Row(
                "plateau_patience",
                "Plateau patience",
                "whole",
                "epochs without a lower validation loss before the rate drops",
                "schedule plateau",
            ),
            Row("clip_norm", "Clip norm", "number", "maximum gradient norm; 0: no clipping"),
            Row("label_smoothing", "Label smoothing", "number", "0 to below 1"),
            Row(
                "early_stopping",
                "Early stopping",
                "whole",
                "epochs without a better validation before stopping; 0: off",
            ),
            Row(
                "on_nonfinite",
                "Non-finite loss",
                "choice",
                "when the loss becomes NaN or infinite: stop or continue",
            ),
        ),
    ),
    Group(
        "augmentation",
        "Augmentation",
        (
            Row("crop_padding", "Random crop", "whole", "pixels of padding before the crop; 0: no crop"),
            Row("flip", "Flip", "choice", "flip training images horizontally at random"),
            Row("rotation", "Rotation", "number", "maximum random rotation in degrees; 0: off"),
            Row(
                "normalization",
                "Normalization",
                "choice",
                "dataset: its mean and standard deviation; half: 0.5 and 0.5",
            ),
        ),
    ),
    Group(
        "device",
        "Device",
        (
            Row("device", "Device", "choice", "auto: the worker's device"),
            Row(
                "find_batch",
                "Find largest batch",
                "choice",
                "use the largest batch that fits instead of the batch size",
            ),
            Row("worker", "Worker", "words", "host, or start of the worker ID; blank: any worker"),
            Row("precision", "Precision", "choice", "auto: the fastest in a trial when the run starts"),
            Row("compile", "Compile", "choice", "auto: for long GPU runs if a trial shows that it pays off"),
            Row("deterministic", "Deterministic", "choice", "reproducible operations only; no speed trials"),
        ),
    ),
    Group(
        "bookkeeping",
        "Bookkeeping",
        (
            Row("tags", "Tags", "words", "comma-separated"),
            Row("priority", "Priority", "whole", "higher starts first"),
            Row("keep_checkpoints", "Checkpoints to keep", "whole", "evenly spread over the epochs, to fork from"),
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
