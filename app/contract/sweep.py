"""SweepSpec: the request for a sweep: base configuration, fields with several values, seeds, search method."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic import Tag as Kind
from pydantic_core import PydanticCustomError

from app.contract.spec import RunSpec, Tag

MOST_RUNS = 1000
DEFAULT_DRAWS = 20
METHODS = ("grid", "random", "tpe")
PRUNERS = ("median", "asha")
OPTION = "option."
"""Prefix of a family's option in a sweep: option.pool."""
SEED = "seed"
"""The value that is no property of a configuration: runs that differ only in it are averaged."""
NOT_SWEPT = (
    *("name", "tags", "notes", "priority", "options", "preset"),
    *("keep_checkpoints", "keep_predictions", "robustness"),
)
"""Fields of a run that a sweep cannot vary."""
WHOLE = ("epochs", "batch_size", "seed", "plateau_patience", "early_stopping", "crop_padding")
NUMBERS = (
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
)
SWEPT = tuple(name for name in RunSpec.model_fields if name not in NOT_SWEPT)
"""Fields that a sweep can vary, in addition to the family's options."""

Method = Literal["grid", "random", "tpe"]
Pruning = Literal["median", "asha"]
Direction = Literal["maximize", "minimize"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Choice(BaseModel):
    """A set of values to choose from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: list[Any] = Field(min_length=1, max_length=MOST_RUNS)

    def contains(self, value: Any) -> bool:
        """Whether a value is one of the choices; 1, 1.0 and true are different values."""
        return any(type(each) is type(value) and each == value for each in self.choice)


class Range(BaseModel):
    """A number between ``low`` and ``high``, both inclusive; ``log``: uniform on a logarithmic scale.

    ``step``: only numbers at this distance from each other, beginning with ``low``. ``whole``: only whole numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Finite
    high: Finite
    log: bool = False
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    whole: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low > self.high:
            raise PydanticCustomError("range", "low must be at most high")
        if self.log and self.low <= 0:
            raise PydanticCustomError("range", "low must be greater than 0 if log is true")
        if self.log and self.step is not None:
            raise PydanticCustomError("range", "a range can have a step or be logarithmic, not both")
        if self.whole and any(number != int(number) for number in (self.low, self.high, self.step or 1)):
            raise PydanticCustomError("range", "low, high and step must be whole numbers if whole is true")
        return self

    def values(self) -> list[float]:
        """Return the values of a range with a step, else an empty list."""
        if self.step is None:
            return []
        count = min(math.floor((self.high - self.low) / self.step + 1e-9), MOST_RUNS) + 1
        return [self.number(round(self.low + i * self.step, 12)) for i in range(count)]

    def nearest(self, value: float) -> float:
        """The number of the range that is nearest to a value; without a step, rounded to four significant digits."""
        if self.step is not None:
            return min(self.values(), key=lambda number: abs(number - value))
        return self.number(min(self.high, max(self.low, float(f"{value:.4g}"))))

    def contains(self, value: Any) -> bool:
        """Whether a value is a number of this range, and an ``int`` exactly if the range has whole numbers only."""
        if type(value) is not (int if self.whole else float) or not self.low <= value <= self.high:
            return False
        return self.step is None or value in self.values()

    def number(self, number: float) -> float:
        """A number in the type that the values of the range have."""
        return round(number) if self.whole else float(number)


def _kind_of(entry: Any) -> str:
    """Tell a choice from a range, so that an error is about the intended one."""
    if isinstance(entry, dict):
        return "choice" if "choice" in entry else "range"
    return "choice" if isinstance(entry, Choice) else "range"


Space = Annotated[Annotated[Choice, Kind("choice")] | Annotated[Range, Kind("range")], Discriminator(_kind_of)]


class SweepSpec(BaseModel):
    """Request for a sweep. ``base`` is a RunSpec; fields in ``grid`` and ``space`` can be left out of it.

    grid: every combination of the values in ``grid``. random: ``draws`` points of ``space``. tpe: the same, but each
    point depends on earlier results. With random and tpe, the values in ``grid`` are choices like those in ``space``.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "base": {"dataset": "digits", "epochs": 5},
                    "grid": {"family": ["simple_cnn", "vit"], "lr": [0.001, 0.0003]},
                    "seeds": 3,
                },
                {
                    "base": {"family": "simple_cnn", "dataset": "digits"},
                    "space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "optimizer": {"choice": ["adam", "sgd"]}},
                    "method": "tpe",
                    "draws": 30,
                    "pruning": "median",
                },
            ]
        },
    )

    base: dict[str, Any] = Field(default_factory=dict, max_length=60, description="RunSpec fields that all runs share.")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict,
        max_length=30,
        description='Values to combine, by field. Use option.NAME for a family option and ["all"] for every value.',
    )
    seeds: int = Field(
        1, ge=1, le=MOST_RUNS, description="Number of seeds per configuration, starting at the seed of base."
    )
    method: Method = "grid"
    space: dict[str, Space] = Field(
        default_factory=dict, max_length=30, description="Ranges and choices by field, for random and tpe."
    )
    draws: int | None = Field(
        None, ge=1, le=MOST_RUNS, description=f"Number of configurations for random and tpe (default: {DEFAULT_DRAWS})."
    )
    metric: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = "val/acc"
    direction: Direction | None = Field(
        None,
        description="Default: maximize accuracies, F1, AUC, precision, recall and throughputs, minimize other metrics.",
    )
    pruning: Pruning | None = Field(
        None, description="Stop runs early that do worse than others at the same epoch: median or asha."
    )
    prune_after_epochs: int = Field(
        1,
        ge=1,
        le=100_000,
        description="Number of epochs, or of values that a script has logged, before a run can be pruned.",
    )
    prune_after_runs: int = Field(
        4,
        ge=1,
        le=MOST_RUNS,
        description="Number of other runs that must have reached the same epoch before a run can be pruned.",
    )
    most_params: int | None = Field(None, ge=1, le=10**12, description="Skip networks with more parameters than this.")
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="Additional tags for every run.")

    @field_validator("seeds", "draws", "most_params", "prune_after_epochs", "prune_after_runs", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        # true would be read as 1.
        if isinstance(value, bool):
            raise PydanticCustomError("int_type", "must be a whole number")
        return value

    @field_validator("grid", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # A single value is a list of one: "family": "all".
        return {name: entry if isinstance(entry, list) else [entry] for name, entry in value.items()}

    @property
    def configurations(self) -> int:
        """Number of configurations that random and tpe draw."""
        return self.draws or DEFAULT_DRAWS
