"""From a sweep as it was asked for to its runs, each checked: every combination, or draws from a space."""

from __future__ import annotations

import math
import random
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

ALL = "all"
# So many combinations are looked at to find those that exist; and so many draws for one that is new.
MOST_COMBINATIONS = 20_000
MOST_CHECKED = 2000
TRIES = 60
# What a network is refused for that exists, but is larger than was asked for.
TOO_LARGE = "most_params"
Values = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """A run to make: ``asked`` is its RunSpec, ``values`` what the sweep chose for it."""

    asked: dict[str, Any]
    config: RunConfig
    values: Values


@dataclass
class Expansion:
    """The runs of a sweep, and a sentence for each combination that does not exist."""

    runs: list[Planned] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def expand(spec: SweepSpec, catalog: Catalog) -> Expansion:
    """Every run of a grid or of random draws; of a search the configurations that it could begin with are checked only.

    Raises SpecError with one sentence for each field that is wrong.
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
    """Each configuration with so many seeds, from its own on; all of them once before any comes again."""
    if seeds == 1:
        return list(planned)
    planned = list(planned)
    for each in planned:
        if each.config.seed + seeds > 2**32:
            raise SpecError([FieldError("seeds", f"seeds end at {2**32 - 1}; begin with a smaller seed")])
    return [_with_seed(each, each.config.seed + i) for i in range(seeds) for each in planned]


def _with_seed(planned: Planned, seed: int) -> Planned:
    return Planned(
        planned.asked | {"seed": seed},
        planned.config.model_copy(update={"seed": seed}),
        planned.values | {"seed": seed},
    )


def _too_many(total: int, spec: SweepSpec) -> FieldError:
    how = "name fewer values, or draw from them with method random"
    if spec.method != "grid":
        how = "take fewer draws or fewer seeds"
    about = "draws" if spec.method != "grid" else "grid"
    return FieldError(about, f"this makes {total:,} runs, and a sweep makes {MOST_RUNS:,} at most: {how}")


def plan_one(spec: SweepSpec, catalog: Catalog, values: Values) -> Planned:
    """The run of these values. Raises SpecError."""
    return _Axes(spec, catalog).planned(values)


def space_of(spec: SweepSpec, catalog: Catalog) -> dict[str, Choice | Range]:
    """What a search chooses from, by field, with "all" written out."""
    axes = _Axes(spec, catalog)
    choices: dict[str, Choice | Range] = {name: _choice(values) for name, values in axes.choices.items()}
    return {**choices, **axes.ranges}


def known_params(config: RunConfig, catalog: Catalog) -> int | None:
    """The exact parameter count of a network with default options on a dataset's first target, else None."""
    size = catalog.families[config.family].size(config.size)
    first = [DATASETS[config.dataset].targets[0].name]
    plain = size is not None and not config.options and config.targets == first and not config.auxiliary
    return size.params.get(config.dataset) if size is not None and plain else None


class _Axes:
    """What a sweep varies, taken apart: ``choices`` by field, ``ranges`` by field, and the base of all runs."""

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
        errors = [FieldError(name, f"{name} stands in grid and in space; name it once") for name in sorted(both)]
        for name in ("family", "size"):
            if self.base.get(name) == ALL and name not in named and name not in spec.space:
                named = {name: _choice([self.base.pop(name)]), **named}
        for name, chosen in (named | dict(spec.space)).items():
            errors += self._add(name, chosen, spec)
        if spec.seeds > 1 and "seed" in self.choices | self.ranges:
            errors.append(FieldError("seeds", "seeds and the values of seed say the same; name one of them"))
        if spec.method != "grid" and not self.choices and not self.ranges:
            errors.append(FieldError("space", f"{spec.method} draws from space, which names no field"))
        if spec.pruning and not spec.metric.startswith("val/"):
            words = f"pruning looks at each epoch's validation: it needs a metric such as val/acc, not {spec.metric}"
            errors.append(FieldError("metric", words))
        if errors:
            raise SpecError(errors)
        self._expand_all()

    def _add(self, name: str, chosen: Choice | Range, spec: SweepSpec) -> list[FieldError]:
        if name not in SWEPT and not name.startswith(OPTION):
            fields = ", ".join((*SWEPT, "option.NAME"))
            return [FieldError(name, f"no field '{name[:40]}' that can hold several values; fields: {fields}")]
        if isinstance(chosen, Choice):
            if not chosen.choice:
                return [FieldError(name, f"{name} holds no value")]
            self.choices[name] = _distinct(chosen.choice)
            return []
        if name not in WHOLE and name not in NUMBERS:
            return [FieldError(name, f"{name} is no number, so it has a choice and no range")]
        if name in WHOLE and (chosen.low != int(chosen.low) or chosen.high != int(chosen.high)):
            return [FieldError(name, f"{name} is a whole number, and so are the ends of its range")]
        if spec.method != "grid":
            self.ranges[name] = chosen
        elif chosen.step is None:
            return [FieldError(name, f"{name} is a range; a grid needs its values, or a step, or method random or tpe")]
        else:
            self.choices[name] = [_rounded(name, value) for value in chosen.values()]
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

        A value that exists in no combination is wrong, and so is a sweep without a run; what is left is left out.
        """
        total = math.prod(len(values) for values in choices.values())
        if total > most:
            words = f"these values have {total:,} combinations, and a sweep makes {MOST_RUNS:,} runs at most"
            raise SpecError([FieldError("grid", f"{words}: name fewer, or draw from them with method random")])
        good: dict[str, set[str]] = {name: set() for name in choices}
        refused: list[tuple[Values, list[FieldError]]] = []
        found, seen = Expansion(), set()
        for values in _products(choices):
            planned: Planned | None
            try:
                planned = self.planned(values)
            except SpecError as error:
                if not (self.every_size and all(each.field == "size" for each in error.errors)):
                    refused.append((values, error.errors))
                if any(each.field != TOO_LARGE for each in error.errors):
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
                found.runs.append(planned)
        wrong = self._always_wrong(refused, good, bool(found.runs))
        if wrong:
            raise SpecError(wrong)
        for values, errors in refused:
            found.left_out.append(f"{describe_values(values)}: {'; '.join(each.message for each in errors)}")
        return found

    def _always_wrong(
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
        """The run of these values. Raises SpecError."""
        asked = {name: value for name, value in self.base.items() if value is not None}
        chosen = {name: value for name, value in values.items() if not name.startswith(OPTION)}
        asked |= chosen
        options = {name.removeprefix(OPTION): value for name, value in values.items() if name.startswith(OPTION)}
        if options:
            asked["options"] = dict(asked.get("options") or {}) | self._typed(options, asked)
        try:
            spec = RunSpec.model_validate(asked)
        except ValidationError as error:
            # Brings FastAPI along, which only a wrong value needs.
            from app.contract.errors import to_field_error

            raise SpecError([to_field_error(each) for each in error.errors(include_url=False)]) from error
        config = resolve(spec, self.catalog)
        size = self.catalog.families[config.family].size(config.size)
        params = size.params.get(config.dataset, 0) if size is not None else 0
        if self.most_params is not None and params > self.most_params:
            words = f"{params:,} parameters, more than {self.most_params:,}"
            raise SpecError([FieldError(TOO_LARGE, words)])
        held = {OPTION + name: value for name, value in spec.options.items()}
        typed = {name: getattr(spec, name) if name in chosen else held[name] for name in values}
        return Planned(spec.model_dump(exclude_unset=True), config, typed)

    def _typed(self, options: Values, asked: Values) -> Values:
        """Options with each choice as the family has it: what is written as "7" is its 7."""
        preset = PRESETS.get(str(asked.get("preset", "")), {})
        family = self.catalog.families.get(str(asked.get("family") or preset.get("family", "")))
        offered = {option.name: option.choices for option in family.options} if family else {}
        return {
            name: next((each for each in offered.get(name, []) if str(each).lower() == str(value).lower()), value)
            for name, value in options.items()
        }

    # Draws -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises SpecError for a value that exists in no combination, and for a range whose end no run can have."""
        for end in ("low", "high"):
            ends = {name: [_rounded(name, getattr(each, end))] for name, each in self.ranges.items()}
            choices = self.choices | ends
            if math.prod(len(values) for values in choices.values()) <= MOST_CHECKED:
                self.combined(choices)
            elif not any(True for _ in islice(self.drawn(1), 1)):
                raise SpecError([FieldError("space", "nothing that was drawn from this space can be trained")])

    def drawn(self, count: int) -> Iterator[Planned]:
        """So many different configurations, as far as there are; the first n are the same for any larger ``count``."""
        seen: set[str] = set()
        for at in range(count * TRIES):
            if len(seen) == count:
                return
            values = self.draw(random.Random(f"{self.seed}/{at}"))
            try:
                planned = self.planned(values)
            except SpecError:
                continue
            if (key := key_of(planned.values) + str(planned.config.seed)) not in seen:
                seen.add(key)
                yield planned

    def draw(self, dice: random.Random) -> Values:
        """One point of the space, whether it exists or not."""
        values = {name: dice.choice(choices) for name, choices in self.choices.items()}
        return values | {name: _point(name, each, dice) for name, each in self.ranges.items()}


def _point(name: str, chosen: Range, dice: random.Random) -> float | int:
    if chosen.step is not None:
        return _rounded(name, dice.choice(chosen.values()))
    if chosen.log:
        value = math.exp(dice.uniform(math.log(chosen.low), math.log(chosen.high)))
    elif name in WHOLE:
        return dice.randint(int(chosen.low), int(chosen.high))
    else:
        value = dice.uniform(chosen.low, chosen.high)
    return rounded(name, value, chosen)


def rounded(name: str, value: float, chosen: Range) -> float | int:
    """A drawn number as people would write it, within its range."""
    return _rounded(name, min(chosen.high, max(chosen.low, float(f"{value:.4g}"))))


def _rounded(name: str, value: float) -> float | int:
    return round(value) if name in WHOLE else float(value)


def _choice(values: list[Any]) -> Choice:
    return Choice.model_construct(choice=values)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list({repr(value): value for value in values}.values())


def _products(choices: Mapping[str, list[Any]]) -> Iterator[Values]:
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))
