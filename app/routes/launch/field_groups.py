"""The training fields of the launch form: their order, groups, labels, hints and choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from app.contract.spec import ClassWeights, Compile, Device, Nonfinite, Normalization, Optimizer, Precision, Schedule


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


MIXING_HINT = "alpha: 0.2 is weak, 1 strong; 0: off; lowers train accuracy, which counts mixed images"

MAIN = (
    Row("epochs", "Epochs", "whole", "passes over the training set"),
    Row("batch_size", "Batch size", "whole", "images per step"),
    Row("seed", "Seed", "whole", "random seed; the same seed reproduces the run"),
    Row("seeds", "Seeds", "whole", "runs per configuration, with consecutive seeds"),
    Row("optimizer", "Optimizer", "choice"),
    Row("lr", "Learning rate", "number", "peak learning rate"),
    Row("schedule", "Schedule", "choice", "learning-rate schedule"),
    Row("name", "Name", "words", "default: family, size and dataset"),
)

GROUPS = (
    Group(
        "optimization",
        "Optimization",
        (
            Row("weight_decay", "Weight decay", "number"),
            Row("momentum", "Momentum", "number", "0 ≤ value < 1", "optimizer sgd"),
            Row("warmup", "Warmup", "number", "fraction of steps used for warmup"),
            Row(
                "lr_min",
                "Final learning rate",
                "number",
                "learning rate at the end of the schedule",
                "schedule cosine one_cycle",
            ),
            Row(
                "plateau_factor",
                "Plateau factor",
                "number",
                "multiplies the learning rate on a plateau",
                "schedule plateau",
            ),
            Row(
                "plateau_patience",
                "Plateau patience",
                "whole",
                "epochs without a lower validation loss before the learning rate drops",
                "schedule plateau",
            ),
            Row("clip_norm", "Gradient clipping", "number", "maximum gradient norm; 0: off"),
            Row("label_smoothing", "Label smoothing", "number", "0 ≤ value < 1"),
            Row("class_weights", "Class weights", "choice", "balanced: images of rare classes count more in the loss"),
            Row("balanced_sampling", "Balanced sampling", "choice", "draw all classes equally often in each epoch"),
            Row("ema_decay", "EMA of weights", "number", "decay per step of the average that is evaluated; 0: off"),
            Row(
                "early_stopping",
                "Early stopping",
                "whole",
                "stop after this many epochs without improvement; 0: off",
            ),
            Row(
                "on_nonfinite",
                "Non-finite loss",
                "choice",
                "what to do when the loss becomes NaN or infinite",
            ),
        ),
    ),
    Group(
        "augmentation",
        "Augmentation",
        (
            Row(
                "random_crop_scale",
                "Random resized crop",
                "number",
                "smallest share of the image's area to cut out and enlarge, such as 0.3; 0: off",
            ),
            Row("crop_padding", "Random crop", "whole", "pixels of padding before the crop; 0: off"),
            Row("flip", "Flip", "choice", "flip training images horizontally at random"),
            Row("rotation", "Rotation", "number", "maximum random rotation in degrees; 0: off"),
            Row("color_jitter", "Color jitter", "number", "change of brightness, contrast and saturation; 0: off"),
            Row("erasing", "Random erasing", "number", "probability per image; 0: off"),
            Row("mixup", "Mixup", "number", MIXING_HINT),
            Row("cutmix", "CutMix", "number", MIXING_HINT),
            Row("mirror", "Test-time flip", "choice", "evaluate each image and its mirror image, and average"),
            Row(
                "normalization",
                "Normalization",
                "choice",
                "dataset: the dataset's mean and standard deviation; half: mean 0.5, standard deviation 0.5",
            ),
        ),
    ),
    Group(
        "device",
        "Device",
        (
            Row("device", "Device", "choice", "auto: any worker's device"),
            Row(
                "find_batch",
                "Largest batch",
                "choice",
                "use the largest batch that fits in memory; overrides batch size",
            ),
            Row("worker", "Worker", "words", "hostname or worker ID prefix; blank: any worker"),
            Row("precision", "Precision", "choice", "auto: the fastest in a short benchmark at startup"),
            Row("compile", "torch.compile", "choice", "auto: on for long GPU runs if a benchmark shows a speedup"),
            Row("deterministic", "Deterministic", "choice", "deterministic operations only; skips benchmarks"),
        ),
    ),
    Group(
        "metadata",
        "Metadata",
        (
            Row("tags", "Tags", "words", "comma-separated"),
            Row("priority", "Priority", "whole", "higher priority starts first"),
            Row("keep_checkpoints", "Checkpoints to keep", "whole", "spread evenly over the epochs; needed for forks"),
            Row("keep_predictions", "Keep predictions", "choice", "of each validation and test image"),
            Row("robustness", "Robustness card", "choice", "after the run, on changed test images"),
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
    "class_weights": get_args(ClassWeights),
    "balanced_sampling": ("true", "false"),
    "flip": ("true", "false"),
    "mirror": ("true", "false"),
    "deterministic": ("true", "false"),
    "find_batch": ("true", "false"),
    "keep_predictions": ("true", "false"),
    "robustness": ("true", "false"),
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
