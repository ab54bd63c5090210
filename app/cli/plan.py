"""From what was said on the command line to the runs that it means, each checked before any is launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pydantic import ValidationError

from app.contract.catalogue import Catalogue, FamilyEntry, OptionEntry, SizeEntry
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve

ALL = ["all"]


@dataclass(frozen=True)
class Planned:
    """A run to launch. ``params`` counts its network with the dataset's first target and no option chosen."""

    spec: RunSpec
    config: RunConfig
    params: int

    @property
    def title(self) -> str:
        """Family, size and dataset."""
        return f"{self.config.family} {self.config.size} · {self.config.dataset}"


@dataclass
class Plan:
    """What is launched, and what is left out because it is too large."""

    runs: list[Planned] = field(default_factory=list)
    too_large: list[Planned] = field(default_factory=list)


def read_catalogue(said: Mapping[str, Any]) -> Catalogue:
    """The catalogue that GET /api/v1/architectures tells, one row a size."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in said["architectures"]:
        rows.setdefault(row["family"], []).append(row)
    return Catalogue(families={name: _family(name, sizes) for name, sizes in rows.items()}, broken=said["broken"])


def _family(name: str, rows: list[Mapping[str, Any]]) -> FamilyEntry:
    first = rows[0]
    return FamilyEntry(
        name=name,
        summary=first["summary"],
        when=first["when"],
        reference=first["reference"],
        default=next(row["size"] for row in rows if row["default"]),
        sizes=[SizeEntry(name=row["size"], definition=row["definition"], params=row["params"]) for row in rows],
        options=[
            OptionEntry(name=option, default=choices[0], choices=choices, about="")
            for option, choices in first["options"].items()
        ],
        smallest_batch=first["smallest_batch"],
        takes_auxiliary=first["takes_auxiliary"],
    )


def make_plan(said: Mapping[str, Any], catalogue: Catalogue, most_params: int | None = None) -> Plan:
    """A run for every family, size and dataset that was ``said``, as ``read_flags`` gives it.

    Raises SpecError with everything that is wrong with any of them, each thing once.
    """
    plan = Plan()
    errors: dict[tuple[str, str], FieldError] = {}
    for family, dataset in product(_families(said, catalogue), _datasets(said)):
        for size in _sizes(said, catalogue, family):
            one = {"family": family, "size": size, "dataset": dataset}
            fields = {**said, **one, "options": _options(said, catalogue, family)}
            fields = {name: value for name, value in fields.items() if value not in (None, {})}
            try:
                spec = RunSpec.model_validate(fields)
                config = resolve(spec, catalogue)
            except ValidationError as error:
                # Brings FastAPI along, which takes a second, and only a wrong flag needs it.
                from app.errors import sentence

                wrong = [sentence(each) for each in error.errors(include_url=False)]
                errors |= {(each.field, each.message): each for each in wrong}
            except SpecError as error:
                errors |= {(each.field, each.message): each for each in error.errors}
            else:
                _add(plan, spec, config, catalogue, most_params)
    if errors:
        raise SpecError(list(errors.values()))
    return plan


def _add(plan: Plan, spec: RunSpec, config: RunConfig, catalogue: Catalogue, most_params: int | None) -> None:
    size = catalogue.families[config.family].size(config.size)
    planned = Planned(spec, config, size.params.get(config.dataset, 0) if size else 0)
    too_large = most_params is not None and planned.params > most_params
    (plan.too_large if too_large else plan.runs).append(planned)


def _families(said: Mapping[str, Any], catalogue: Catalogue) -> list[str | None]:
    asked = said.get("family")
    return list(catalogue.families) if asked == ALL else asked or [None]


def _datasets(said: Mapping[str, Any]) -> list[str | None]:
    asked = said.get("dataset")
    return list(DATASETS) if asked == ALL else asked or [None]


def _sizes(said: Mapping[str, Any], catalogue: Catalogue, family: str | None) -> list[str | None]:
    asked = said.get("size")
    if asked != ALL:
        return asked or [None]
    entry = _entry(said, catalogue, family)
    # Of a family that does not exist, one run is enough to say so.
    return [size.name for size in entry.sizes] if entry else [None]


def _entry(said: Mapping[str, Any], catalogue: Catalogue, family: str | None) -> FamilyEntry | None:
    preset = PRESETS.get(said.get("preset", ""), {})
    return catalogue.families.get(family or preset.get("family", ""))


def _options(said: Mapping[str, Any], catalogue: Catalogue, family: str | None) -> dict[str, Any]:
    """The options with each choice as the family has it: what is typed as "7" is its 7."""
    entry = _entry(said, catalogue, family)
    offered = {option.name: option.choices for option in entry.options} if entry else {}
    return {
        name: next((each for each in offered.get(name, []) if str(each).lower() == value.lower()), value)
        for name, value in said.get("options", {}).items()
    }
