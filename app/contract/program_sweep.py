"""Request for a sweep over the fields of a program, and what its fields may have several values of.

Other values than those of the request need no signature, as for a single launch: each must fit its field.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from app.contract.program import SEED, Program, ProgramField, ProgramRequest
from app.contract.program_values import read_value
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import Choice, Range, SweepSpec

FROM_REQUEST: Final = ("base", "most_params", "name", "tags")
"""Fields of a SweepSpec that the request has itself, or that only networks have."""
VARIED_TYPES: Final = ("int", "float", "choice", "bool")
"""Types of fields that can have several values."""


class ProgramSweepRequest(ProgramRequest):
    """Request for a sweep over fields of a program: ``values`` of the other fields, and fields of each run.

    ``sweep`` has the varied fields in ``grid`` and ``space``, with their values and ranges.
    """

    sweep: SweepSpec = Field(
        default_factory=SweepSpec,
        description="Values and ranges by field in grid and space; method, draws, seeds, metric, direction and pruning,"
        " as for other sweeps.",
    )

    @field_validator("sweep")
    @classmethod
    def _without_others(cls, value: SweepSpec) -> SweepSpec:
        if wrong := [name for name in FROM_REQUEST if name in value.model_fields_set]:
            message = f"{wrong[0]} cannot be set in the sweep of a program; the request has values, name and tags"
            raise PydanticCustomError("sweep", "{message}", {"message": message})
        return value

    def template(self, program: Program) -> ProgramTemplate:
        """What its runs have in common."""
        return ProgramTemplate.model_validate(self.model_dump(exclude={"sweep"}) | {"program": program})


class ProgramTemplate(ProgramRequest):
    """What the runs of a sweep have in common: the signed program, the values of other fields, and fields of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Program


def space_of_program(program: Program, spec: SweepSpec) -> dict[str, Choice | Range]:
    """The values and ranges of a sweep by field, read as those of a launch; ranges of whole numbers are ``whole``.

    Raises SpecError with a sentence for each field that cannot have these values.
    """
    listed = [(name, Choice.model_construct(choice=values)) for name, values in spec.grid.items() if values]
    space: dict[str, Choice | Range] = {}
    errors = [FieldError(name, f"{name} has no values") for name, values in spec.grid.items() if not values]
    for name, asked in [*listed, *spec.space.items()]:
        try:
            if name in space:
                raise ValueError(f"{name} is in both grid and space; use only one")
            space[name] = _read(_field(program, name), asked)
        except ValueError as error:
            errors.append(FieldError(name[:60], str(error)))
    if errors:
        raise SpecError(errors)
    return space


def _field(program: Program, name: str) -> ProgramField:
    field = program.by_name.get(name)
    can = ", ".join(each.name for each in program.fields if each.type in VARIED_TYPES and each.name != SEED) or "none"
    if field is None:
        raise ValueError(f"program '{program.name}' has no field '{name[:60]}'; fields that can vary: {can}")
    if name == SEED:
        # Runs that differ only in it are averaged, so it is no property of a configuration.
        raise ValueError("seed cannot have several values; set seeds to the number of runs with consecutive seeds")
    if field.type not in VARIED_TYPES:
        raise ValueError(f"{name} is a {field.type} and cannot have several values; fields that can: {can}")
    return field


def _read(field: ProgramField, asked: Choice | Range) -> Choice | Range:
    if isinstance(asked, Choice):
        return Choice.model_construct(choice=_distinct(read_value(field, value) for value in asked.choice))
    whole = field.type == "int"
    if not whole and field.type != "float":
        raise ValueError(f"{field.name} is a {field.type}; list its values instead of a range")
    if whole and any(number != int(number) for number in (asked.low, asked.high, asked.step or 1)):
        raise ValueError(f"{field.name} must be whole numbers; its range needs whole numbers as bounds and step")
    for end in (asked.low, asked.high):
        read_value(field, int(end) if whole else end)
    return asked.model_copy(update={"whole": whole or asked.whole})


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))
