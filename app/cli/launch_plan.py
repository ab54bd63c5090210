"""Plan of the runs that a command line requests; all are checked before the first one is launched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from app.contract.catalog import Catalog, FamilyEntry, OptionEntry, SizeEntry
from app.contract.dataset import Dataset, Target
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve

if TYPE_CHECKING:
    from runyard import Runyard

ALL = ["all"]
# Fields that hold a list in a single run, and fields that are expanded per family.
NOT_VARIED = ("targets", "tags", "family", "size", "dataset", "options")
# Fields that a sweep cannot vary, and the prefix of an option's name in a sweep.
NOT_SWEPT = ("priority", "preset")
OPTION = "option."


@dataclass(frozen=True)
class Planned:
    """A run to launch. ``params``: count of its network without options and with the dataset's first target."""

    spec: RunSpec
    config: RunConfig
    params: int

    @property
    def title(self) -> str:
        """Family, size and dataset."""
        return f"{self.config.family} {self.config.size} · {self.config.dataset}"


@dataclass
class Plan:
    """Runs to launch, and runs left out because their networks are too large.

    ``base``, ``grid`` and ``seeds`` describe the runs as a sweep: every combination of the values in ``grid``, with
    ``seeds`` seeds each. ``grid`` is None if the runs are not every combination.
    """

    runs: list[Planned] = field(default_factory=list)
    too_large: list[Planned] = field(default_factory=list)
    base: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] | None = None
    seeds: int = 1

    def sweep(self) -> dict[str, Any] | None:
        """Return the body of POST /sweeps for these runs, or None if no sweep makes them."""
        if self.grid is None or len(self.runs) < 2:
            return None
        return {"base": self.base, "grid": self.grid, "seeds": self.seeds}


def read_catalog(response: Mapping[str, Any]) -> Catalog:
    """Read the catalog from the response of GET /api/v1/architectures, which has one row per size."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in response["architectures"]:
        rows.setdefault(row["family"], []).append(row)
    return Catalog(families={name: _family(name, sizes) for name, sizes in rows.items()}, broken=response["broken"])


def read_dataset(listed: Mapping[str, Any]) -> Dataset:
    """Read a dataset from the response of GET /api/v1/datasets. What only training needs is left blank."""
    targets = tuple(
        Target(target["name"], target["classes"], target["weight"], tuple(target["labels"]))
        for target in listed["targets"]
    )
    numbers = {name: listed[name] for name in ("channels", "side", "train", "validation", "test", "megabytes")}
    texts = {name: listed[name] for name in ("name", "title", "source", "offline", "version")}
    return Dataset(**numbers, **texts, targets=targets, mean=(), std=())


def include_own_datasets(yard: Runyard, requested: Sequence[str]) -> None:
    """Let fields be checked here against the server's datasets, and against older versions of them."""
    DATASETS.include(read_dataset(listed) for listed in yard.datasets() if listed["own"])
    for key in requested:
        name, _, version = key.partition("@")
        if version and key not in DATASETS:
            DATASETS.include([read_dataset(yard.ask("GET", f"/datasets/{name}", version=version)["dataset"])])


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


def make_plan(fields: Mapping[str, Any], catalog: Catalog, most_params: int | None = None, seeds: int = 1) -> Plan:
    """Plan a run for every combination of values in ``fields`` (from ``read_flags``) and every seed.

    Raises SpecError with every problem of any run, each one once.
    """
    plan = Plan(seeds=seeds)
    errors: dict[tuple[str, str], FieldError] = {}
    first_seed = fields.get("seed", "1")
    if seeds > 1 and (isinstance(first_seed, list) or not first_seed.isdecimal()):
        raise SpecError([FieldError("seed", "--seed must be a single whole number when --seeds is used")])
    varied = {name: value for name, value in fields.items() if isinstance(value, list) and name not in NOT_VARIED}
    if seeds > 1:
        varied["seed"] = list(range(int(first_seed), int(first_seed) + seeds))
    points = [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]
    sizes_of = {family: _sizes(fields, catalog, family) for family in _families(fields, catalog)}
    for family, dataset in product(sizes_of, _datasets(fields)):
        for size, options, point in product(sizes_of[family], _options(fields, catalog, family), points):
            chosen = {"family": family, "size": size, "dataset": dataset, "options": options, **point}
            given = {name: value for name, value in {**fields, **chosen}.items() if value not in (None, {})}
            try:
                spec = RunSpec.model_validate(given)
                config = resolve(spec, catalog)
            except ValidationError as error:
                # Imported only for invalid flags, because it is slow.
                from app.contract.errors import to_field_errors
                from app.contract.spec_errors import remaining_errors

                invalid = to_field_errors(error.errors(include_url=False))
                invalid += remaining_errors(given, {problem.field for problem in invalid}, catalog)
                errors |= {(problem.field, problem.message): _with_hint(problem, given) for problem in invalid}
            except SpecError as error:
                errors |= {(problem.field, problem.message): problem for problem in error.errors}
            else:
                _add(plan, spec, config, catalog, most_params)
    if errors:
        raise SpecError(list(errors.values()))
    _find_grid(plan, fields.get("size") == ALL)
    return plan


def _with_hint(problem: FieldError, given: Mapping[str, Any]) -> FieldError:
    """Say how to launch a range, if that is what was given for a single value."""
    value = given.get(problem.field)
    if not isinstance(value, str) or ".." not in value:
        return problem
    hint = f"for a range: runyard sweep create --space {problem.field}={value[:40]}"
    return FieldError(problem.field, f"{problem.message}; {hint}")


def _find_grid(plan: Plan, every_size: bool) -> None:
    """Set ``base`` and ``grid`` of the plan if a sweep can describe its runs."""
    specs = [_flatten(planned.spec.model_dump(mode="json", exclude_unset=True)) for planned in plan.runs]
    if not specs:
        return
    values = {name: _distinct([spec.get(name) for spec in specs]) for name in specs[0]}
    first_seed = values["seed"][0] if plan.seeds > 1 else None
    if plan.seeds > 1:
        values["seed"] = values["seed"][:1] if first_seed != 1 else []
    grid = {name: several for name, several in values.items() if len(several) > 1}
    single = {name: only[0] for name, only in values.items() if len(only) == 1}
    plan.base = {name: value for name, value in single.items() if not name.startswith(OPTION)}
    if options := {name.removeprefix(OPTION): value for name, value in single.items() if name.startswith(OPTION)}:
        plan.base["options"] = options
    if set(grid) & set(NOT_SWEPT):
        return
    if len(specs) == prod(map(len, grid.values())) * plan.seeds:
        plan.grid = grid
    elif every_size and not plan.too_large:
        # The server expands "all" to the sizes of each family.
        plan.grid = grid | {"size": ALL}


def _flatten(spec: dict[str, Any]) -> dict[str, Any]:
    options = spec.pop("options", {})
    return spec | {OPTION + name: value for name, value in options.items()}


def _distinct(values: list[Any]) -> list[Any]:
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct


def _add(plan: Plan, spec: RunSpec, config: RunConfig, catalog: Catalog, most_params: int | None) -> None:
    size = catalog.families[config.family].size(config.size)
    planned = Planned(spec, config, size.params.get(config.dataset, 0) if size else 0)
    too_large = most_params is not None and planned.params > most_params
    (plan.too_large if too_large else plan.runs).append(planned)


def _families(fields: Mapping[str, Any], catalog: Catalog) -> list[str | None]:
    requested = fields.get("family")
    return list(catalog.families) if requested == ALL else requested or [None]


def _datasets(fields: Mapping[str, Any]) -> list[str | None]:
    requested = fields.get("dataset")
    return list(DATASETS) if requested == ALL else requested or [None]


def _sizes(fields: Mapping[str, Any], catalog: Catalog, family: str | None) -> list[str | None]:
    requested = fields.get("size")
    if requested != ALL:
        return requested or [None]
    entry = _entry(fields, catalog, family)
    # For an unknown family, one run is enough to report the error.
    return [size.name for size in entry.sizes] if entry else [None]


def _entry(fields: Mapping[str, Any], catalog: Catalog, family: str | None) -> FamilyEntry | None:
    preset = PRESETS.get(fields.get("preset", ""), {})
    return catalog.families.get(family or preset.get("family", ""))


def _options(fields: Mapping[str, Any], catalog: Catalog, family: str | None) -> list[dict[str, Any]]:
    """Return every combination of option values, converted to the family's choices: "7" becomes 7."""
    entry = _entry(fields, catalog, family)
    offered = {option.name: option.choices for option in entry.options} if entry else {}
    choices = {
        name: [
            next((choice for choice in offered.get(name, []) if str(choice).lower() == text.lower()), text)
            for text in ([texts] if isinstance(texts, str) else texts)
        ]
        for name, texts in fields.get("options", {}).items()
    }
    return [dict(zip(choices, chosen, strict=True)) for chosen in product(*choices.values())]
