"""RunSpec: the request for a run; RunConfig: the same with every field filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from app.contract.catalog import Catalog, FamilyEntry
from app.contract.dataset import Dataset
from app.contract.datasets import DATASETS
from app.contract.known_names import known_names
from app.contract.presets import PRESETS
from app.contract.recipes import ONE_CYCLE_WARMUP, RECIPES, fitting_batch, recipe_settings

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "plateau", "cosine", "one_cycle"]
Normalization = Literal["dataset", "half"]
Precision = Literal["auto", "32", "bf16"]
Compile = Literal["auto", "on", "off"]
Nonfinite = Literal["stop", "go_on"]
ClassWeights = Literal["off", "balanced"]
Device = Literal["auto", "cpu", "cuda"]
"""Devices that a run can request, in addition to one GPU by its index (`DEVICE`)."""
DEVICE = re.compile(r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")

Word = Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
Positive = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""Any integer that the database holds."""
Number = Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
"""Any finite number, with room for values computed from it."""
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Portion = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Alpha = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
"""The parameter of a beta distribution from which shares are drawn; 0 for none."""


class _Shared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    options: dict[str, str | Integer | Number | bool] = Field(
        default_factory=dict, max_length=20, description="Family-specific options, by name."
    )
    auxiliary: bool = Field(False, description="Also feed the dataset's auxiliary scalars to the network.")
    seed: int = Field(1, ge=0, lt=2**32, description="Random seed for weight initialization, batch order and dropout.")
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = Field(
        "", description="Display name (default: family, size and dataset)."
    )
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="Tags, to find runs by.")
    notes: str = Field("", max_length=20_000, description="Notes on the run.")
    priority: int = Field(0, ge=-1000, le=1000, description="Runs with a higher priority start first.")
    device: str = Field(
        "auto",
        description="Device to train on: auto (any worker's), cpu, cuda, or one GPU by its index, such as cuda:1.",
        json_schema_extra={"pattern": DEVICE.pattern},
    )
    worker: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = Field(
        "", description="Train only on this worker, given by host name or the start of its id (default: any worker)."
    )

    find_batch: bool = Field(False, description="Use the largest batch size that fits in memory instead of batch_size.")
    on_nonfinite: Nonfinite = Field(
        "stop",
        description="What to do when the loss becomes NaN or infinite. stop: end the run; go_on: continue training.",
    )
    keep_checkpoints: int = Field(
        10, ge=0, le=1000, description="Number of end-of-epoch checkpoints to keep to fork from, evenly spaced."
    )
    keep_predictions: bool = Field(
        True,
        description="Keep what the best checkpoint predicts for each validation and test image, and what each epoch"
        " predicts for each validation image.",
    )
    robustness: bool = Field(
        False,
        description="After the run, measure the accuracy of its best checkpoint on test images spoiled in 15 ways.",
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not DEVICE.fullmatch(value):
            raise PydanticCustomError("device", "must be auto, cpu, cuda, or one GPU by its index, such as cuda:1")
        return value


class RunSpec(_Shared):
    """Request for a run. Only ``family`` or ``preset`` is required; preset, recipe and family fill in the rest."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"family": "simple_cnn", "size": "base", "dataset": "digits", "epochs": 20}],
        }
    )

    family: Word | None = Field(None, description="Architecture family.")
    size: Word | None = Field(None, description="Size of the family (default: the family's default size).")
    dataset: Word | None = Field(
        None,
        description="Dataset (default: the recipe's first, else digits); NAME@VERSION for an older version of yours.",
    )
    targets: list[Word] | None = Field(
        None,
        max_length=10,
        description="Targets to predict, one head per target (default: the dataset's first target).",
    )
    recipe: Word = Field("default", description=f"Recipe, a named set of training settings: {', '.join(RECIPES)}.")
    preset: Word | None = Field(None, description="Named combination of family, size, dataset and recipe.")
    epochs: int | None = Field(None, ge=1, le=100_000, description="Number of epochs.")
    batch_size: int | None = Field(None, ge=1, le=65_536, description="Images per training step.")
    optimizer: Optimizer | None = Field(None, description="Optimizer.")
    lr: Positive | None = Field(None, description="Learning rate.")
    weight_decay: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = Field(
        None, description="Weight decay of the optimizer."
    )
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        None, description="Momentum (sgd only)."
    )
    schedule: Schedule | None = Field(None, description="Learning-rate schedule.")
    lr_min: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = Field(
        None, description="Final learning rate of the cosine and one_cycle schedules."
    )
    warmup: Share | None = Field(None, description="Learning-rate warmup, as a fraction of all steps.")
    plateau_factor: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = Field(
        None, description="Factor by which the plateau schedule multiplies the learning rate."
    )
    plateau_patience: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None,
        description="Epochs without a lower validation loss before the plateau schedule reduces the learning rate.",
    )
    early_stopping: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None,
        description="Stop after this many epochs without improvement on the validation set; 0 disables early stopping.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        None, description="Label smoothing; 0 disables it."
    )
    class_weights: ClassWeights | None = Field(
        None,
        description="Weights of the first target's classes in the training loss. balanced: inversely proportional to"
        " the number of training images of each class; off: all images count the same.",
    )
    balanced_sampling: bool | None = Field(
        None,
        description="Draw the first target's classes equally often in each epoch: images of small classes recur, and"
        " the number of steps stays the same.",
    )
    clip_norm: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = Field(
        None, description="Maximum gradient norm; 0 disables gradient clipping."
    )
    random_crop_scale: Portion | None = Field(
        None,
        description="Cut out a random part of each training image, at least this share of its area, and enlarge it to"
        " the image's size; 0 disables it.",
    )
    crop_padding: Annotated[int, Field(ge=0, le=16)] | None = Field(
        None, description="Pixels of padding for random crops; 0 disables cropping."
    )
    flip: bool | None = Field(None, description="Randomly flip training images horizontally.")
    rotation: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)] | None = Field(
        None, description="Randomly rotate training images by up to this many degrees in either direction."
    )
    color_jitter: Portion | None = Field(
        None,
        description="Randomly change brightness, contrast and saturation of training images by up to this share;"
        " 0 disables it.",
    )
    erasing: Portion | None = Field(
        None, description="Probability that a random rectangle of a training image is erased; 0 disables it."
    )
    mixup: Alpha | None = Field(
        None, description="Strength (alpha) of mixup, which blends each training image with another; 0 disables it."
    )
    cutmix: Alpha | None = Field(
        None,
        description="Strength (alpha) of CutMix, which replaces a rectangle of each training image by another's;"
        " 0 disables it. If mixup is on too, each batch uses one of the two.",
    )
    ema_decay: Share | None = Field(
        None,
        description="Decay per step of the moving average of the weights, which is validated, tested and saved as the"
        " best; 0 disables averaging.",
    )
    mirror: bool | None = Field(
        None, description="Average the predictions for each validation and test image and its mirror image."
    )
    normalization: Normalization | None = Field(
        None,
        description="Pixel normalization. dataset: by the dataset's mean and standard deviation; half: by 0.5 and 0.5.",
    )
    precision: Precision | None = Field(
        None,
        description="Numeric precision. 32: float32; bf16: bfloat16 mixed precision; auto: whichever is faster in a"
        " short trial.",
    )
    compile: Compile | None = Field(
        None, description="Whether to use torch.compile. auto: only for long runs on a GPU, if a trial shows a speedup."
    )
    deterministic: bool | None = Field(
        None, description="Use only deterministic operations, also on a GPU, and skip autotuning."
    )

    @field_validator(
        "seed",
        "priority",
        "epochs",
        "batch_size",
        "crop_padding",
        "plateau_patience",
        "early_stopping",
        "keep_checkpoints",
        mode="before",
    )
    @classmethod
    def _whole(cls, value: Any) -> Any:
        # true would be read as 1.
        if isinstance(value, bool):
            raise PydanticKnownError("int_type")
        return value

    @field_validator(
        "lr",
        "weight_decay",
        "momentum",
        "lr_min",
        "warmup",
        "plateau_factor",
        "label_smoothing",
        "clip_norm",
        "random_crop_scale",
        "rotation",
        "color_jitter",
        "erasing",
        "mixup",
        "cutmix",
        "ema_decay",
        mode="before",
    )
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticKnownError("float_type")
        return value


class RunConfig(_Shared):
    """A RunSpec with every field filled in: the same configuration always trains the same network.

    Fields with a default were added in later versions; the default is how runs launched before were trained.
    ``dataset``: a name; of the user's own datasets a name and a version, as in ``flowers@0f3a…``.
    """

    family: str
    size: str
    dataset: str
    targets: list[str]
    recipe: str
    preset: str | None = None
    epochs: int
    batch_size: int
    optimizer: Optimizer
    lr: float
    weight_decay: float
    momentum: float
    schedule: Schedule
    lr_min: float
    warmup: float = 0.0
    plateau_factor: float = 0.1
    plateau_patience: int = 10
    early_stopping: int = 0
    label_smoothing: float
    class_weights: ClassWeights = "off"
    balanced_sampling: bool = False
    clip_norm: float
    random_crop_scale: float = 0.0
    crop_padding: int
    flip: bool
    rotation: float = 0.0
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema_decay: float = 0.0
    mirror: bool = False
    normalization: Normalization = "dataset"
    precision: Precision
    compile: Compile = "off"
    deterministic: bool

    @property
    def dataset_name(self) -> str:
        """The dataset without its version."""
        return self.dataset.partition("@")[0]

    @property
    def title(self) -> str:
        """Name of the run, or else family, size and dataset."""
        return self.name or f"{self.family} {self.size} · {self.dataset_name}"


@dataclass(frozen=True)
class FieldError:
    """An error in one field, as a sentence for the user."""

    field: str
    message: str


class SpecError(ValueError):
    """A spec that cannot be trained; ``errors`` lists every invalid field."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def resolve(spec: RunSpec, catalog: Catalog) -> RunConfig:
    """Fill in every field of ``spec`` from its preset, its recipe and the family's defaults, in this order.

    Raises SpecError with one sentence for each invalid field.
    """
    errors: list[FieldError] = []
    given = spec.model_dump(exclude_none=True, exclude_unset=True)
    if spec.preset is not None:
        if spec.preset in PRESETS:
            given = dict(PRESETS[spec.preset]) | given
        else:
            errors.append(_unknown("preset", spec.preset, list(PRESETS)))
    recipe = given.get("recipe", "default")
    if recipe not in RECIPES:
        errors.append(_unknown("recipe", recipe, list(RECIPES)))
    supported = RECIPES[recipe].datasets if recipe in RECIPES else ()
    dataset = _dataset(given.get("dataset") or next(iter(supported), "digits"), errors)
    family = _family(given.get("family"), spec.preset, catalog, errors)
    size = given.get("size") or (family.default if family else "")
    if family and family.size(size) is None:
        errors.append(_unknown("size", size, [each.name for each in family.sizes], f" for {family.name}"))
    if family:
        errors += _option_errors(family, given.get("options", {}))
    targets = list(given.get("targets") or ([dataset.targets[0].name] if dataset else []))
    if dataset:
        offered = [target.name for target in dataset.targets]
        for target in targets:
            if target not in offered:
                errors.append(_unknown("targets", target, offered, f" in {dataset.name}", "target"))
        for target in dict.fromkeys(target for target in targets if targets.count(target) > 1):
            errors.append(FieldError("targets", f"target {target} is listed more than once"))
    if given.get("auxiliary"):
        errors += _auxiliary_errors(family, dataset, catalog)
    if dataset and recipe in RECIPES and not RECIPES[recipe].fits(dataset):
        reason = f"recipe {recipe} does not support {dataset.name}; supported datasets: {RECIPES[recipe].supported}"
        errors.append(FieldError("recipe", reason))
    if errors or not family or not dataset:
        raise SpecError(errors)
    settings = default_settings(recipe, family.name, dataset)
    if given.get("schedule") == "one_cycle" and settings["schedule"] != "one_cycle":
        settings["warmup"] = ONE_CYCLE_WARMUP
    filled = settings | given | {"size": size, "dataset": dataset.key, "targets": targets, "recipe": recipe}
    chosen = {option.name: option.default_at(dataset.side) for option in family.options} | given.get("options", {})
    # An option that is set to its default does not change the network. A default for larger images is stored, so that
    # runs from before there was one keep theirs.
    filled["options"] = {each.name: chosen[each.name] for each in family.options if chosen[each.name] != each.default}
    config = RunConfig.model_validate(filled)
    _check_batch(config, family, dataset)
    return config


def default_settings(recipe: str, family: str, dataset: Dataset) -> dict[str, Any]:
    """Return the settings of a recipe; with a smaller batch size for a small dataset of the user's own."""
    settings = recipe_settings(recipe, family, dataset.name)
    # The recipes know how many images the built-in datasets have.
    smaller = {"batch_size": fitting_batch(settings["batch_size"], dataset.train)} if dataset.version else {}
    return settings | smaller


def _auxiliary_errors(family: FamilyEntry | None, dataset: Dataset | None, catalog: Catalog) -> list[FieldError]:
    if family and not family.takes_auxiliary:
        able = ", ".join(entry.name for entry in catalog.families.values() if entry.takes_auxiliary) or "none"
        return [FieldError("auxiliary", f"{family.name} does not support auxiliary scalars; families that do: {able}")]
    if dataset and not dataset.auxiliary:
        offering = ", ".join(entry.name for entry in DATASETS.values() if entry.auxiliary) or "none"
        return [FieldError("auxiliary", f"{dataset.name} has no auxiliary scalars; datasets that do: {offering}")]
    return []


def _check_batch(config: RunConfig, family: FamilyEntry, dataset: Dataset) -> None:
    if config.batch_size < family.smallest_batch:
        reason = (
            f"{family.name} uses batch normalization and cannot train with batch size {config.batch_size};"
            f" use a batch size of at least {family.smallest_batch}, or an architecture without batch normalization,"
            " such as simple_mlp"
        )
        raise SpecError([FieldError("batch_size", reason)])
    if config.batch_size > dataset.train:
        reason = f"batch_size must be at most {dataset.train:,}, the number of training images of {dataset.name}"
        raise SpecError([FieldError("batch_size", reason)])
    if config.schedule in ("cosine", "one_cycle") and config.lr_min > config.lr:
        reason = f"lr_min ({config.lr_min:g}) must be at most lr ({config.lr:g})"
        raise SpecError([FieldError("lr_min", reason)])


def _dataset(name: str, errors: list[FieldError]) -> Dataset | None:
    if name not in DATASETS:
        errors.append(_unknown("dataset", name, list(DATASETS)))
    return DATASETS.get(name)


def _family(name: str | None, preset: str | None, catalog: Catalog, errors: list[FieldError]) -> FamilyEntry | None:
    if name is None:
        if preset is None:
            families = ", ".join(catalog.families)
            errors.append(FieldError("family", f"a family or a preset is required; families: {families}"))
        return None
    # A user-defined file with the name of a built-in family is rejected; the built-in family stays available.
    if name not in catalog.families and name in catalog.broken:
        errors.append(FieldError("family", f"could not load {name}: {catalog.broken[name]}"))
    elif name not in catalog.families:
        errors.append(_unknown("family", name, list(catalog.families)))
    return catalog.families.get(name)


def _option_errors(family: FamilyEntry, chosen: dict[str, Any]) -> list[FieldError]:
    offered = {option.name: option for option in family.options}
    errors = []
    for name, value in chosen.items():
        if name not in offered:
            errors.append(_unknown("options", name, list(offered), f" for {family.name}", "option"))
        elif not any(type(value) is type(choice) and value == choice for choice in offered[name].choices):
            where = f" for option {name} of {family.name}"
            errors.append(_unknown("options", str(value), [str(c) for c in offered[name].choices], where, "choice"))
    return errors


def _unknown(field: str, given: str, existing: list[str], where: str = "", noun: str = "") -> FieldError:
    noun = noun or field
    shown = given if len(given) <= 40 else given[:40] + "…"
    plural = {"family": "families", "size": "sizes"}.get(noun, noun + "s")
    return FieldError(field, f"no {noun} '{shown}'{where}; {known_names(given, existing, noun, plural)}")
