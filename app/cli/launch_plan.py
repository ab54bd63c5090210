"""From what was said on the command line to the runs that it means, each checked before any is launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from pydantic import ValidationError

from app.contract.catalog import Catalog, FamilyEntry, OptionEntry, SizeEntry
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve

ALL = ["all"]
# Lists of one run, and what is taken apart by family.
NOT_VARIED = ("targets", "tags", "family", "size", "dataset", "options")
# Fields that no sweep varies, and what stands before an option's name in a sweep.
NOT_SWEPT = ("priority", "preset")
OPTION = "option."


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
    """What is launched, and what is left out because it is too large.

    ``base`` and ``grid`` say the runs as a sweep: every combination of the values in ``grid`` is one, with ``seeds``
    seeds each. ``grid`` is None where they are not every combination.
    """

    runs: list[Planned] = field(default_factory=list)
    too_large: list[Planned] = field(default_factory=list)
    base: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] | None = None
    seeds: int = 1

    def sweep(self) -> dict[str, Any] | None:
        """The body of POST /sweeps that makes these runs; None where no sweep does."""
        if self.grid is None or len(self.runs) < 2:
            return None
        return {"base": self.base, "grid": self.grid, "seeds": self.seeds}


def read_catalog(said: Mapping[str, Any]) -> Catalog:
    """The catalog that GET /api/v1/architectures tells, one row a size."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in said["architectures"]:
        rows.setdefault(row["family"], []).append(row)
    return Catalog(families={name: _family(name, sizes) for name, sizes in rows.items()}, broken=said["broken"])


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


def make_plan(said: Mapping[str, Any], catalog: Catalog, most_params: int | None = None, seeds: int = 1) -> Plan:
    """A run for every family, size, dataset and other value that was ``said``, as ``read_flags`` gives it, and seed.

    Raises SpecError with everything that is wrong with any of them, each thing once.
    """
    plan = Plan(seeds=seeds)
    errors: dict[tuple[str, str], FieldError] = {}
    first_seed = said.get("seed", "1")
    if seeds > 1 and (isinstance(first_seed, list) or not first_seed.isdecimal()):
        raise SpecError([FieldError("seed", "with --seeds, --seed is the first of them: one whole number")])
    varied = {name: value for name, value in said.items() if isinstance(value, list) and name not in NOT_VARIED}
    if seeds > 1:
        varied["seed"] = list(range(int(first_seed), int(first_seed) + seeds))
    points = [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]
    sizes_of = {family: _sizes(said, catalog, family) for family in _families(said, catalog)}
    for family, dataset in product(sizes_of, _datasets(said)):
        for size, options, point in product(sizes_of[family], _options(said, catalog, family), points):
            one = {"family": family, "size": size, "dataset": dataset, "options": options, **point}
            fields = {name: value for name, value in {**said, **one}.items() if value not in (None, {})}
            try:
                spec = RunSpec.model_validate(fields)
                config = resolve(spec, catalog)
            except ValidationError as error:
                # Brings FastAPI along, which takes a second, and only a wrong flag needs it.
                from app.contract.errors import to_field_error

                wrong = [to_field_error(each) for each in error.errors(include_url=False)]
                errors |= {(each.field, each.message): each for each in wrong}
            except SpecError as error:
                errors |= {(each.field, each.message): each for each in error.errors}
            else:
                _add(plan, spec, config, catalog, most_params)
    if errors:
        raise SpecError(list(errors.values()))
    _find_grid(plan, said.get("size") == ALL)
    return plan


def _find_grid(plan: Plan, every_size: bool) -> None:
    """The runs as every combination of the values that they have, where a sweep can say them so."""
    asked = [_flat(each.spec.model_dump(mode="json", exclude_unset=True)) for each in plan.runs]
    if not asked:
        return
    values = {name: _distinct([each.get(name) for each in asked]) for name in asked[0]}
    first_seed = values["seed"][0] if plan.seeds > 1 else None
    if plan.seeds > 1:
        values["seed"] = values["seed"][:1] if first_seed != 1 else []
    grid = {name: found for name, found in values.items() if len(found) > 1}
    single = {name: found[0] for name, found in values.items() if len(found) == 1}
    plan.base = {name: value for name, value in single.items() if not name.startswith(OPTION)}
    if options := {name.removeprefix(OPTION): value for name, value in single.items() if name.startswith(OPTION)}:
        plan.base["options"] = options
    if set(grid) & set(NOT_SWEPT):
        return
    if len(asked) == prod(map(len, grid.values())) * plan.seeds:
        plan.grid = grid
    elif every_size and not plan.too_large:
        # A sweep knows which sizes a family has.
        plan.grid = grid | {"size": ALL}


def _flat(asked: dict[str, Any]) -> dict[str, Any]:
    options = asked.pop("options", {})
    return asked | {OPTION + name: value for name, value in options.items()}


def _distinct(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _add(plan: Plan, spec: RunSpec, config: RunConfig, catalog: Catalog, most_params: int | None) -> None:
    size = catalog.families[config.family].size(config.size)
    planned = Planned(spec, config, size.params.get(config.dataset, 0) if size else 0)
    too_large = most_params is not None and planned.params > most_params
    (plan.too_large if too_large else plan.runs).append(planned)


def _families(said: Mapping[str, Any], catalog: Catalog) -> list[str | None]:
    asked = said.get("family")
    return list(catalog.families) if asked == ALL else asked or [None]


def _datasets(said: Mapping[str, Any]) -> list[str | None]:
    asked = said.get("dataset")
    return list(DATASETS) if asked == ALL else asked or [None]


def _sizes(said: Mapping[str, Any], catalog: Catalog, family: str | None) -> list[str | None]:
    asked = said.get("size")
    if asked != ALL:
        return asked or [None]
    entry = _entry(said, catalog, family)
    # Of a family that does not exist, one run is enough to say so.
    return [size.name for size in entry.sizes] if entry else [None]


def _entry(said: Mapping[str, Any], catalog: Catalog, family: str | None) -> FamilyEntry | None:
    preset = PRESETS.get(said.get("preset", ""), {})
    return catalog.families.get(family or preset.get("family", ""))


def _options(said: Mapping[str, Any], catalog: Catalog, family: str | None) -> list[dict[str, Any]]:
    """Every choice of the options, each as the family has it: what is typed as "7" is its 7."""
    entry = _entry(said, catalog, family)
    offered = {option.name: option.choices for option in entry.options} if entry else {}
    choices = {
        name: [
            next((each for each in offered.get(name, []) if str(each).lower() == word.lower()), word)
            for word in ([words] if isinstance(words, str) else words)
        ]
        for name, words in said.get("options", {}).items()
    }
    return [dict(zip(choices, chosen, strict=True)) for chosen in product(*choices.values())]
