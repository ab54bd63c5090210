"""Expands a sweep specification into validated runs: every combination of a grid, or random draws from a space."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from pydantic import ValidationError

from app.contract.catalog import Catalog, FamilyEntry
from app.contract.datasets import DATASETS
from app.contract.presets import PRESETS
from app.contract.recipes import RECIPES
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve
from app.contract.sweep import MOST_RUNS, NUMBERS, OPTION, SWEPT, WHOLE, Choice, Range, SweepSpec
from app.contract.sweep_label import describe_values
from app.store.sweep import key_of
from app.sweeps.draw import Values, draw_distinct

ALL = "all"
# Limits: combinations of a grid, and combinations checked of a space.
MOST_COMBINATIONS = 20_000
MOST_CHECKED = 2000
# Error field of networks that exist but have more parameters than allowed.
TOO_LARGE = "most_params"


@dataclass(frozen=True)
class Planned:
    """A run to create: ``asked`` is its RunSpec, ``values`` are those the sweep chose for it."""

    asked: dict[str, Any]
    config: RunConfig
    values: Values


@dataclass
class Expansion:
    """The runs of a sweep, and one sentence for each combination that does not exist."""

    runs: list[Planned] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def expand(spec: SweepSpec, catalog: Catalog) -> Expansion:
    """The runs of a grid or of random draws; for a search, only validates the space.

    Raises SpecError with one sentence for each invalid field.
    """
    axes = _Axes(spec, catalog)
    if spec.method == "grid":
        made = axes.combined(axes.choices)
    else:
        axes.check()
        made = Expansion([] if spec.method == "tpe" else list(axes.drawn(spec.configurations)))
    repeated = with_seeds(made.runs, spec.seeds)
    total = len(repeated) if spec.method != "tpe" else spec.configurations * spec.seeds
    if total > MOST_RUNS:
        raise SpecError([_too_many(total, spec)])
    return Expansion(repeated, made.left_out)


def with_seeds(planned: Iterable[Planned], seeds: int) -> list[Planned]:
    """Repeat each configuration with consecutive seeds; every configuration comes once before any repeats."""
    if seeds == 1:
        return list(planned)
    planned = list(planned)
    for run in planned:
        if run.config.seed + seeds > 2**32:
            raise SpecError([FieldError("seeds", f"seeds must be at most {2**32 - 1:,}; start with a smaller seed")])
    return [_with_seed(run, run.config.seed + i) for i in range(seeds) for run in planned]


def _with_seed(planned: Planned, seed: int) -> Planned:
    return Planned(
        planned.asked | {"seed": seed},
        planned.config.model_copy(update={"seed": seed}),
        planned.values | {"seed": seed},
    )


def _too_many(total: int, spec: SweepSpec) -> FieldError:
    how = "use fewer values or seeds, or method random with draws"
    if spec.method != "grid":
        how = "use fewer draws or seeds"
    about = "draws" if spec.method != "grid" else "grid"
    return FieldError(about, f"this sweep would have {total:,} runs; the maximum is {MOST_RUNS:,}; {how}")


def plan_one(spec: SweepSpec, catalog: Catalog, values: Values) -> Planned:
    """The run with these values. Raises SpecError."""
    return _Axes(spec, catalog).planned(values)


def space_of(spec: SweepSpec, catalog: Catalog) -> dict[str, Choice | Range]:
    """The space of a search by field, with "all" expanded."""
    return _Axes(spec, catalog).space


def known_params(config: RunConfig, catalog: Catalog) -> int | None:
    """The exact parameter count of a network with default options on a dataset's first target, otherwise None."""
    size = catalog.families[config.family].size(config.size)
    dataset = DATASETS.get(config.dataset)
    first = [dataset.targets[0].name] if dataset else []
    plain = size is not None and not config.options and config.targets == first and not config.auxiliary
    return size.params.get(config.dataset) if size is not None and plain else None


class _Axes:
    """The varied fields of a sweep: ``choices`` and ``ranges`` by field, and the common base of all runs."""

    def __init__(self, spec: SweepSpec, catalog: Catalog) -> None:
        self.catalog = catalog
        self.base = dict(spec.base)
        self.seed = self.base.get("seed", 1)
        self.choices: dict[str, list[Any]] = {}
        self.ranges: dict[str, Range] = {}
        self.every_size = False
        self.most_params = spec.most_params
        named: dict[str, Choice | Range] = {name: _choice(values) for name, values in spec.grid.items()}
        both = named.keys() & spec.space.keys()
        errors = [FieldError(name, f"{name} is in both grid and space; use only one") for name in sorted(both)]
        for name in ("family", "size"):
            if self.base.get(name) == ALL and name not in named and name not in spec.space:
                named = {name: _choice([self.base.pop(name)]), **named}
        for name, chosen in (named | dict(spec.space)).items():
            errors += self._add(name, chosen, spec)
        if spec.seeds > 1 and "seed" in self.choices | self.ranges:
            errors.append(FieldError("seeds", "use either seeds or several values of seed, not both"))
        if spec.method != "grid" and not self.choices and not self.ranges:
            errors.append(FieldError("space", f"method {spec.method} needs at least one field in space"))
        if spec.pruning and not spec.metric.startswith("val/"):
            message = f"pruning needs a validation metric such as val/acc, not {spec.metric}"
            errors.append(FieldError("metric", message))
        if errors:
            raise SpecError(errors)
        self._expand_all()

    def _add(self, name: str, chosen: Choice | Range, spec: SweepSpec) -> list[FieldError]:
        if name not in SWEPT and not name.startswith(OPTION):
            fields = ", ".join((*SWEPT, "option.NAME"))
            return [FieldError(name, f"field '{name[:40]}' cannot be varied in a sweep; fields that can: {fields}")]
        if isinstance(chosen, Choice):
            if not chosen.choice:
                return [FieldError(name, f"{name} has no values")]
            self.choices[name] = _distinct(chosen.choice)
            return []
        if name not in WHOLE and name not in NUMBERS:
            return [FieldError(name, f"{name} is not numeric; list choices instead of a range")]
        if name in WHOLE and (chosen.low != int(chosen.low) or chosen.high != int(chosen.high)):
            return [FieldError(name, f"the range of {name} must have whole-number bounds")]
        chosen = chosen.model_copy(update={"whole": chosen.whole or name in WHOLE})
        if spec.method != "grid":
            self.ranges[name] = chosen
        elif chosen.step is None:
            message = (
                f"a grid needs discrete values for {name}: add a step to its range, list values,"
                " or use method random or tpe"
            )
            return [FieldError(name, message)]
        else:
            self.choices[name] = list(chosen.values())
        return []

    def _expand_all(self) -> None:
        every = {"family": list(self.catalog.families), "dataset": list(DATASETS), "recipe": list(RECIPES)}
        for name, values in self.choices.items():
            if ALL not in values:
                continue
            if name == "size":
                self.every_size = True
                self.choices[name] = _distinct(size.name for each in self._families() for size in each.sizes)
            elif name.startswith(OPTION):
                option = name.removeprefix(OPTION)
                offered = [each for family in self._families() for each in family.options if each.name == option]
                self.choices[name] = _distinct(choice for each in offered for choice in each.choices) or values
            else:
                self.choices[name] = every.get(name, values)

    def _families(self) -> list[FamilyEntry]:
        preset = PRESETS.get(str(self.base.get("preset", "")), {})
        names = self.choices.get("family", [self.base.get("family") or preset.get("family")])
        names = list(self.catalog.families) if ALL in names else names
        return [self.catalog.families[name] for name in names if name in self.catalog.families]

    # Every combination -----------------------------------------------------------------------------------------------

    def combined(self, choices: Mapping[str, list[Any]], most: int = MOST_COMBINATIONS) -> Expansion:
        """Every combination that exists.

        A value that exists in no combination is an error, and so is a sweep without runs; other combinations are left
        out.
        """
        total = math.prod(len(values) for values in choices.values())
        if total > most:
            message = f"these values have {total:,} combinations; the maximum is {MOST_RUNS:,} runs"
            raise SpecError([FieldError("grid", f"{message}; use fewer values, or method random with draws")])
        good: dict[str, set[str]] = {name: set() for name in choices}
        refused: list[tuple[Values, list[FieldError]]] = []
        expansion, seen = Expansion(), set()
        for values in _products(choices):
            planned: Planned | None
            try:
                planned = self.planned(values)
            except SpecError as error:
                if not (self.every_size and all(error.field == "size" for error in error.errors)):
                    refused.append((values, error.errors))
                if any(error.field != TOO_LARGE for error in error.errors):
                    continue
                planned = None
            for name, value in values.items():
                good[name].add(repr(value))
            if planned is None:
                continue
            # "32" and 32 are the same value.
            key = key_of(planned.values) + str(planned.config.seed)
            if key not in seen:
                seen.add(key)
                expansion.runs.append(planned)
        wrong = self._invalid_values(refused, good, bool(expansion.runs))
        if wrong:
            raise SpecError(wrong)
        for values, errors in refused:
            expansion.left_out.append(f"{describe_values(values)}: {'; '.join(error.message for error in errors)}")
        return expansion

    def _invalid_values(
        self, refused: list[tuple[Values, list[FieldError]]], good: Mapping[str, set[str]], some: bool
    ) -> list[FieldError]:
        wrong: dict[tuple[str, str], FieldError] = {}
        for values, errors in refused:
            for error in errors:
                names = [name for name in values if error.field == ("options" if name.startswith(OPTION) else name)]
                never = [name for name in names if repr(values[name]) not in good[name]]
                if not some or never:
                    named = FieldError(never[0] if never else error.field, error.message)
                    wrong[named.field, named.message] = named
        return list(wrong.values())[:20]

    def planned(self, values: Values) -> Planned:
        """The run with these values. Raises SpecError."""
        asked = {name: value for name, value in self.base.items() if value is not None}
        chosen = {name: value for name, value in values.items() if not name.startswith(OPTION)}
        asked |= chosen
        options = {name.removeprefix(OPTION): value for name, value in values.items() if name.startswith(OPTION)}
        if options:
            asked["options"] = dict(asked.get("options") or {}) | self._typed(options, asked)
        try:
            spec = RunSpec.model_validate(asked)
        except ValidationError as error:
            # Imports FastAPI, which is needed only for invalid values.
            from app.contract.errors import to_field_errors

            raise SpecError(to_field_errors(error.errors(include_url=False))) from error
        config = resolve(spec, self.catalog)
        size = self.catalog.families[config.family].size(config.size)
        params = size.params.get(config.dataset, 0) if size is not None else 0
        if self.most_params is not None and params > self.most_params:
            message = f"{params:,} parameters exceed most_params ({self.most_params:,})"
            raise SpecError([FieldError(TOO_LARGE, message)])
        options_by_field = {OPTION + name: value for name, value in spec.options.items()}
        typed = {name: getattr(spec, name) if name in chosen else options_by_field[name] for name in values}
        return Planned(spec.model_dump(exclude_unset=True), config, typed)

    def _typed(self, options: Values, settings: Values) -> Values:
        """Convert option values to the family's choices: the text "7" becomes its number 7."""
        preset = PRESETS.get(str(settings.get("preset", "")), {})
        family = self.catalog.families.get(str(settings.get("family") or preset.get("family", "")))
        offered = {option.name: option.choices for option in family.options} if family else {}
        return {
            name: next((choice for choice in offered.get(name, []) if str(choice).lower() == str(value).lower()), value)
            for name, value in options.items()
        }

    # Draws -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises SpecError for a value that exists in no combination, or a range end that no run can have."""
        for end in ("low", "high"):
            ends = {name: [chosen.number(getattr(chosen, end))] for name, chosen in self.ranges.items()}
            choices = self.choices | ends
            if math.prod(len(values) for values in choices.values()) <= MOST_CHECKED:
                self.combined(choices)
            elif not any(True for _ in islice(self.drawn(1), 1)):
                raise SpecError([FieldError("space", "no configuration drawn from this space can be trained")])

    def drawn(self, count: int) -> Iterator[Planned]:
        """Up to ``count`` distinct configurations; the first n are the same for any larger ``count``."""
        return draw_distinct(
            self.space, self.seed, count, self.planned, lambda found: key_of(found.values) + str(found.config.seed)
        )

    @property
    def space(self) -> dict[str, Choice | Range]:
        """Choices and ranges by field."""
        return {**{name: _choice(values) for name, values in self.choices.items()}, **self.ranges}


def _choice(values: list[Any]) -> Choice:
    return Choice.model_construct(choice=values)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


def _products(choices: Mapping[str, list[Any]]) -> Iterator[Values]:
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))
