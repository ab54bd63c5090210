"""SweepSpec: many runs as one. A base, fields that hold several values, seeds, and how the values are chosen."""

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
USUAL_DRAWS = 20
METHODS = ("grid", "random", "tpe")
PRUNERS = ("median", "asha")
OPTION = "option."
"""What stands before the name of a family's option where it is swept: option.pool."""
KEPT = ("name", "tags", "notes", "priority", "options", "preset", "keep_checkpoints")
"""Fields of a run that a sweep does not vary."""
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
    "rotation",
)
SWEPT = tuple(name for name in RunSpec.model_fields if name not in KEPT)
"""Fields that can hold several values, beside a family's options."""

Method = Literal["grid", "random", "tpe"]
Pruning = Literal["median", "asha"]
Direction = Literal["maximize", "minimize"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Choice(BaseModel):
    """One of these values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: list[Any] = Field(min_length=1, max_length=MOST_RUNS)


class Range(BaseModel):
    """A number between ``low`` and ``high``, both included; ``log``: each power of ten is as likely as any other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Finite
    high: Finite
    log: bool = False
    step: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low > self.high:
            raise PydanticCustomError("range", "low must not be above high")
        if self.log and self.low <= 0:
            raise PydanticCustomError("range", "low must be greater than 0 where log is true")
        if self.log and self.step is not None:
            raise PydanticCustomError("range", "a range has a step or is logarithmic, not both")
        return self

    def values(self) -> list[float]:
        """The values of a range with a step."""
        if self.step is None:
            return []
        count = min(math.floor((self.high - self.low) / self.step + 1e-9), MOST_RUNS) + 1
        return [round(self.low + i * self.step, 12) for i in range(count)]


def _kind_of(said: Any) -> str:
    """Whether a part of a space is a choice or a range, so that what is wrong is said of one of them."""
    if isinstance(said, dict):
        return "choice" if "choice" in said else "range"
    return "choice" if isinstance(said, Choice) else "range"


Space = Annotated[Annotated[Choice, Kind("choice")] | Annotated[Range, Kind("range")], Discriminator(_kind_of)]


class SweepSpec(BaseModel):
    """What a user asks for. ``base`` is a RunSpec that may lack what ``grid`` and ``space`` name.

    grid: every combination of the values in ``grid``. random: ``draws`` points of ``space``. tpe: the same, each drawn
    after what the earlier ones reached. With random and tpe the values of ``grid`` are choices like those of ``space``.
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

    base: dict[str, Any] = Field(default_factory=dict, max_length=60, description="A RunSpec: what all runs share.")
    grid: dict[str, list[Any]] = Field(
        default_factory=dict, max_length=30, description="Values by field; option.NAME is an option, ['all'] every one."
    )
    seeds: int = Field(1, ge=1, le=MOST_RUNS, description="Each configuration with so many seeds, from the base's on.")
    method: Method = "grid"
    space: dict[str, Space] = Field(
        default_factory=dict, max_length=30, description="By field what to draw from, for random and tpe."
    )
    draws: int | None = Field(
        None, ge=1, le=MOST_RUNS, description=f"Configurations for random and tpe; {USUAL_DRAWS} when left out."
    )
    metric: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = "val/acc"
    direction: Direction | None = Field(None, description="Left out: larger is better for accuracies, else smaller.")
    pruning: Pruning | None = Field(None, description="Stops runs that are worse than the others at their epoch.")
    prune_after_epochs: int = Field(1, ge=1, le=100_000, description="No run is pruned before so many epochs.")
    prune_after_runs: int = Field(4, ge=1, le=MOST_RUNS, description="Or before so many others have come as far.")
    most_params: int | None = Field(
        None, ge=1, le=10**12, description="Leaves out networks with more parameters, and says which."
    )
    name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)] = ""
    tags: list[Tag] = Field(default_factory=list, max_length=20, description="Further tags of every run.")

    @field_validator("seeds", "draws", "most_params", "prune_after_epochs", "prune_after_runs", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        # true would be taken for 1.
        if isinstance(value, bool):
            raise PydanticCustomError("int_type", "must be a whole number")
        return value

    @field_validator("grid", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        # A word alone is a list of one: "family": "all".
        return {name: each if isinstance(each, list) else [each] for name, each in value.items()}

    @property
    def configurations(self) -> int:
        """How many configurations random and tpe draw."""
        return self.draws or USUAL_DRAWS
