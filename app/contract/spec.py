"""RunSpec: what to train, as a user says it; RunConfig: the same with every blank filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from app.contract.catalog import Catalog, FamilyEntry
from app.contract.datasets import DATASETS, Dataset
from app.contract.presets import PRESETS
from app.contract.recipes import ONE_CYCLE_WARMUP, RECIPES, recipe_settings

Optimizer = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "plateau", "cosine", "one_cycle"]
Normalization = Literal["dataset", "half"]
Precision = Literal["auto", "32", "bf16"]
Compile = Literal["auto", "on", "off"]
Nonfinite = Literal["stop", "go_on"]
Device = Literal["auto", "cpu", "cuda"]
"""What a run can ask for; beside these one GPU by its index."""
DEVICE = re.compile(r"^(auto|cpu|cuda(:[0-9]{1,2})?)$")

Word = Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=50)]
Positive = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""Any integer that the database holds."""
Number = Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
"""Any finite number, with room for what is computed from it."""
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class _Shared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    options: dict[str, str | Integer | Number | bool] = Field(
        default_factory=dict, max_length=20, description="Options of the family, by name."
    )
    auxiliary: bool = Field(False, description="Feed the dataset's measured scalars to the network as well.")
    seed: int = Field(1, ge=0, lt=2**32, description="Seeds weights, batch order and dropout.")
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = Field(
        "", description="Shown instead of family, size and dataset."
    )
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    notes: str = Field("", max_length=20_000)
    priority: int = Field(0, ge=-1000, le=1000, description="Higher starts first.")
    device: str = Field(
        "auto",
        description="auto takes what the worker has; else cpu, cuda, or one GPU by its index: cuda:1.",
        json_schema_extra={"pattern": DEVICE.pattern},
    )
    worker: Annotated[str, StringConstraints(strip_whitespace=True, max_length=80)] = Field(
        "", description="Only on this worker: its host, or the beginning of its id; blank takes the next free one."
    )

    find_batch: bool = Field(False, description="Begin with the largest batch that fits, instead of batch_size.")
    on_nonfinite: Nonfinite = Field("stop", description="When the loss becomes NaN or infinite: stop, or go_on.")
    keep_checkpoints: int = Field(
        10, ge=0, le=1000, description="How many ends of epochs are kept, evenly spread, to fork from later."
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not DEVICE.fullmatch(value):
            raise PydanticCustomError("device", "must be auto, cpu, cuda, or one GPU by its index such as cuda:1")
        return value


class RunSpec(_Shared):
    """What a user asks for. Only ``family`` or ``preset`` is required; preset, recipe and family fill the blanks."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"family": "simple_cnn", "size": "base", "dataset": "digits", "epochs": 20}],
        }
    )

    family: Word | None = Field(None, description="Architecture family, see /api/v1/architectures.")
    size: Word | None = Field(None, description="Size of the family; its default when left out.")
    dataset: Word | None = Field(
        None, description="Dataset, see /api/v1/datasets; left out: what the recipe is made for, else digits."
    )
    targets: list[Word] | None = Field(None, max_length=10, description="Heads to train; the first one when left out.")
    recipe: Word = Field("default", description="Named settings, see /api/v1/recipes.")
    preset: Word | None = Field(None, description="Named family, size, dataset and recipe in one.")
    epochs: int | None = Field(None, ge=1, le=100_000)
    batch_size: int | None = Field(None, ge=1, le=65_536)
    optimizer: Optimizer | None = None
    lr: Positive | None = Field(None, description="Learning rate.")
    weight_decay: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(None, description="For sgd.")
    schedule: Schedule | None = None
    lr_min: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = Field(
        None, description="Where cosine and one_cycle end."
    )
    warmup: Share | None = Field(None, description="Share of the run's steps in which the rate rises.")
    plateau_factor: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = Field(
        None, description="What the plateau schedule multiplies the rate by."
    )
    plateau_patience: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None, description="Epochs without a lower validation loss that the plateau schedule waits."
    )
    early_stopping: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None, description="Stop after so many epochs without a better validation; 0 never does."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = None
    clip_norm: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = Field(
        None, description="Largest gradient norm; 0 does not clip."
    )
    crop_padding: Annotated[int, Field(ge=0, le=16)] | None = Field(None, description="Random crop after padding.")
    flip: bool | None = Field(None, description="Mirror training images at random.")
    rotation: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False)] | None = Field(
        None, description="Turn training images at random by up to so many degrees to either side."
    )
    normalization: Normalization | None = Field(
        None, description="dataset: by its own mean and deviation; half: by 0.5 and 0.5."
    )
    precision: Precision | None = Field(
        None, description="32: float32; bf16: bfloat16 with float32 weights; auto: the faster of the two, as tried."
    )
    compile: Compile | None = Field(
        None, description="By torch.compile; auto: for a long run on a GPU, where a trial says that it pays."
    )
    deterministic: bool | None = Field(
        None, description="Only repeatable operations, also on a GPU, and no trial of what is faster."
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
        # true would be taken for 1.
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
        "rotation",
        mode="before",
    )
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise PydanticKnownError("float_type")
        return value


class RunConfig(_Shared):
    """A RunSpec with every blank filled: the same words always train the same network.

    A field that has a default came with a later version: what was launched before is read as it trained then.
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
    clip_norm: float
    crop_padding: int
    flip: bool
    rotation: float = 0.0
    normalization: Normalization = "dataset"
    precision: Precision
    compile: Compile = "off"
    deterministic: bool

    @property
    def title(self) -> str:
        """What a run is called when it has no name of its own."""
        return self.name or f"{self.family} {self.size} · {self.dataset}"


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field, as a sentence for its user."""

    field: str
    message: str


class SpecError(ValueError):
    """A spec that cannot be trained, with every field that is wrong."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def resolve(spec: RunSpec, catalog: Catalog) -> RunConfig:
    """Fill every blank of ``spec``: its own words, then its preset, its recipe, the family's defaults.

    Raises SpecError with one sentence for each field that names something that does not exist.
    """
    errors: list[FieldError] = []
    said = spec.model_dump(exclude_none=True, exclude_unset=True)
    if spec.preset is not None:
        if spec.preset in PRESETS:
            said = dict(PRESETS[spec.preset]) | said
        else:
            errors.append(_unknown("preset", spec.preset, list(PRESETS)))
    recipe = said.get("recipe", "default")
    if recipe not in RECIPES:
        errors.append(_unknown("recipe", recipe, list(RECIPES)))
    made_for = RECIPES[recipe].datasets if recipe in RECIPES else ()
    dataset = _dataset(said.get("dataset") or next(iter(made_for), "digits"), errors)
    family = _family(said.get("family"), spec.preset, catalog, errors)
    size = said.get("size") or (family.default if family else "")
    if family and family.size(size) is None:
        errors.append(_unknown("size", size, [each.name for each in family.sizes], f" for {family.name}"))
    if family:
        errors += _wrong_options(family, said.get("options", {}))
    targets = list(said.get("targets") or ([dataset.targets[0].name] if dataset else []))
    if dataset:
        offered = [target.name for target in dataset.targets]
        for target in targets:
            if target not in offered:
                errors.append(_unknown("targets", target, offered, f" in {dataset.name}", "target"))
        if len(set(targets)) != len(targets):
            errors.append(FieldError("targets", "each target can be named once"))
    if said.get("auxiliary"):
        errors += _wrong_auxiliary(family, dataset, catalog)
    if dataset and made_for and dataset.name not in made_for:
        reason = f"recipe {recipe} is made for {', '.join(made_for)}, not for {dataset.name}"
        errors.append(FieldError("recipe", reason))
    if errors or not family or not dataset:
        raise SpecError(errors)
    settings = recipe_settings(recipe, family.name, dataset.name)
    if said.get("schedule") == "one_cycle" and settings["schedule"] != "one_cycle":
        settings["warmup"] = ONE_CYCLE_WARMUP
    filled = settings | said | {"size": size, "dataset": dataset.name, "targets": targets, "recipe": recipe}
    defaults = {option.name: option.default for option in family.options}
    # The default said in so many words makes no other network.
    filled["options"] = {name: value for name, value in said.get("options", {}).items() if value != defaults[name]}
    config = RunConfig.model_validate(filled)
    _check_batch(config, family, dataset)
    return config


def _wrong_auxiliary(family: FamilyEntry | None, dataset: Dataset | None, catalog: Catalog) -> list[FieldError]:
    if family and not family.takes_auxiliary:
        able = ", ".join(each.name for each in catalog.families.values() if each.takes_auxiliary) or "none"
        return [FieldError("auxiliary", f"{family.name} takes no auxiliary scalars; families that do: {able}")]
    if dataset and not dataset.auxiliary:
        offering = ", ".join(each.name for each in DATASETS.values() if each.auxiliary) or "none"
        return [FieldError("auxiliary", f"{dataset.name} offers no auxiliary scalars; datasets that do: {offering}")]
    return []


def _check_batch(config: RunConfig, family: FamilyEntry, dataset: Dataset) -> None:
    if config.batch_size < family.smallest_batch:
        reason = f"{family.name} normalizes over the batch, so its batch size is at least {family.smallest_batch}"
        raise SpecError([FieldError("batch_size", reason)])
    if config.batch_size > dataset.train:
        reason = f"{dataset.name} has {dataset.train:,} training images, so a batch holds at most that many"
        raise SpecError([FieldError("batch_size", reason)])
    if config.schedule in ("cosine", "one_cycle") and config.lr_min > config.lr:
        reason = f"lr_min ({config.lr_min:g}) is where the schedule ends, so it cannot be above lr ({config.lr:g})"
        raise SpecError([FieldError("lr_min", reason)])


def _dataset(name: str, errors: list[FieldError]) -> Dataset | None:
    if name not in DATASETS:
        errors.append(_unknown("dataset", name, list(DATASETS)))
    return DATASETS.get(name)


def _family(name: str | None, preset: str | None, catalog: Catalog, errors: list[FieldError]) -> FamilyEntry | None:
    if name is None:
        if preset is None:
            families = ", ".join(catalog.families)
            errors.append(FieldError("family", f"name a family or a preset; families: {families}"))
        return None
    # A file from outside that has a family's name, and is refused for it, takes nothing from the family.
    if name not in catalog.families and name in catalog.broken:
        errors.append(FieldError("family", f"{name} could not be imported: {catalog.broken[name]}"))
    elif name not in catalog.families:
        errors.append(_unknown("family", name, list(catalog.families)))
    return catalog.families.get(name)


def _wrong_options(family: FamilyEntry, chosen: dict[str, Any]) -> list[FieldError]:
    offered = {option.name: option for option in family.options}
    errors = []
    for name, value in chosen.items():
        if name not in offered:
            errors.append(_unknown("options", name, list(offered), f" for {family.name}", "option"))
        elif not any(type(value) is type(choice) and value == choice for choice in offered[name].choices):
            what = f" for option {name} of {family.name}"
            errors.append(_unknown("options", str(value), [str(c) for c in offered[name].choices], what, "choice"))
    return errors


def _unknown(field: str, got: str, exist: list[str], where: str = "", noun: str = "") -> FieldError:
    noun = noun or field
    shown = got if len(got) <= 40 else got[:40] + "…"
    plural = {"family": "families", "size": "sizes"}.get(noun, noun + "s")
    if not exist:
        return FieldError(field, f"no {noun} '{shown}'{where}; there are none")
    return FieldError(field, f"no {noun} '{shown}'{where}; {plural}: {', '.join(exist)}")
