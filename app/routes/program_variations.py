"""Several values in the fields of a program's form, which make it a sweep, in the notation of the launch form.

A number field takes comma-separated values, "1e-3, 3e-4", or a range: "log 1e-4 .. 1e-1", "16 .. 128 step 16". A choice
has checkboxes for further choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.contract.command_template import value_text
from app.contract.errors import Invalid, to_field_errors
from app.contract.program import Program, ProgramField
from app.contract.program_sweep import ProgramSweepRequest
from app.contract.program_values import read_value
from app.contract.spec import FieldError
from app.contract.sweep import DEFAULT_DRAWS, SweepSpec
from app.contract.sweep_label import describe_values
from app.routes.launch.field_groups import Row
from app.routes.launch.form import Form
from app.routes.launch.multiple_values import ALSO, placed, read_range
from app.sweeps.script_trials import PlannedScript, ProgramTrials

VALUE = "v-"
"""Prefix of a program's own fields, whose names others of the form may have too."""
HOW = ("method", "draws", "metric", "direction", "pruning")
"""Form fields that configure the sweep; without one they have no effect."""
EXAMPLES = 5
_AT = {"grid": "method", "space": "method", "sweep": "method", "body": "method"}


@dataclass
class Variations:
    """The fields that a form varies: ``values`` and ``ranges`` by the name of the program's field, as typed.

    ``first``: the text of one value of each field. ``how``: the form's fields in HOW, as typed.
    """

    values: dict[str, list[str]] = field(default_factory=dict)
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        """The fields with several values."""
        return [*self.values, *self.ranges]

    @property
    def method(self) -> str:
        """The chosen search method; by default random if a field has a range, else grid."""
        return self.how["method"] or ("random" if self.ranges else "grid")

    def count(self, name: str) -> str:
        """Return the number of values in a field as text; blank for one."""
        if name in self.ranges:
            return "range"
        return f"{len(self.values[name])} values" if name in self.values else ""

    def spec(self, seeds: int) -> SweepSpec:
        """Return the sweep. Raises Invalid with errors by the field of the form."""
        given: dict[str, Any] = {"grid": self.values} if self.values else {}
        given |= {"space": self.ranges} if self.ranges else {}
        given |= {"method": self.method} if self.method != "grid" else {}
        given |= {"seeds": seeds} if seeds != 1 else {}
        for name in ("draws", "metric", "direction", "pruning"):
            given |= {name: self.how[name]} if self.how[name] and (name != "draws" or self.method != "grid") else {}
        try:
            return SweepSpec.model_validate(given)
        except ValidationError as error:
            errors = [placed(each) for each in to_field_errors(error.errors(include_url=False))]
            raise Invalid("; ".join(each.message for each in errors), errors) from error


def read_variations(program: Program, form: Form) -> Variations:
    """Read which fields of a form have several values; whether they fit is for the validation to say."""
    found = Variations(how={name: next(iter(form.get(name, [])), "").strip() for name in HOW})
    for each in program.fields:
        given = [value for value in form.get(VALUE + each.name, []) if value.strip()]
        if each.type in ("int", "float"):
            _read_numbers(each, given, found)
        elif each.chosen_by_owner:
            _read_choices(each, given, [value for value in form.get(ALSO + VALUE + each.name, []) if value], found)
        else:
            found.first[each.name] = (given[0] if each.type == "text" else given[0].strip()) if given else ""
    return found


def _read_numbers(each: ProgramField, given: list[str], found: Variations) -> None:
    text = ", ".join(value.strip() for value in given)
    if (space := read_range(text)) is not None:
        found.ranges[each.name], found.first[each.name] = space, value_text(space["low"])
        return
    values = _different(each, [part.strip() for part in text.split(",") if part.strip()])
    if len(values) > 1:
        found.values[each.name] = values
    found.first[each.name] = values[0] if values else ""


def _read_choices(each: ProgramField, given: list[str], also: list[str], found: Variations) -> None:
    default = [] if each.default is None or given or not also else [value_text(each.default)]
    values = _different(each, [*default, *(value.strip() for value in given), *also])
    if len(values) > 1:
        found.values[each.name] = values
    found.first[each.name] = values[0] if values and (given or not default) else ""


def _different(each: ProgramField, texts: list[str]) -> list[str]:
    """The texts that stand for different values: 1 and 1.0 are the same number."""
    values: dict[Any, str] = {}
    for text in texts:
        try:
            values.setdefault(read_value(each, text), text)
        except ValueError:
            # Kept, so that the validation says what is wrong with it.
            values.setdefault(text, text)
    return list(values.values())


# The sweep that a form stands for ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before its launch; while the form is invalid, ``runs`` is 0 and ``request`` is None.

    ``duration`` says how the runs come about: how long a script takes is not known.
    """

    request: ProgramSweepRequest | None = None
    runs: int = 0
    duration: str = ""
    examples: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def plan_sweep(program: Program, found: Variations, fixed: Mapping[str, Any], seeds: int) -> SweepPlan:
    """Return the sweep of a form. ``fixed``: the other fields of the request. Raises Invalid, SpecError."""
    asked = ProgramSweepRequest.model_validate({**fixed, "sweep": found.spec(seeds)})
    trials = ProgramTrials(asked.sweep, asked.template(program))
    planned = trials.expand()
    spec = asked.sweep
    if spec.grid:
        # As the program reads them: the text "0.1" is a number.
        grid = {name: getattr(trials.space[name], "choice", values) for name, values in spec.grid.items()}
        asked = asked.model_copy(update={"sweep": spec.model_copy(update={"grid": grid})})
    runs = len(planned) if spec.method != "tpe" else spec.configurations * spec.seeds
    return SweepPlan(asked, runs, _how_it_runs(spec, runs), _examples(planned))


def _how_it_runs(spec: SweepSpec, runs: int) -> str:
    configurations = runs // spec.seeds
    how = {"grid": "every combination", "random": "random draws", "tpe": "each depends on earlier results"}[spec.method]
    seeds = f"{configurations:,} configuration{'s' if configurations != 1 else ''} × {spec.seeds} seeds, "
    return f"{seeds if spec.seeds > 1 else ''}{how}"


def _examples(planned: list[PlannedScript]) -> tuple[str, ...]:
    return tuple(describe_values(each.values) for each in planned[:EXAMPLES])


def form_field(error: FieldError) -> str:
    """Return the name of the form's field for an error of a sweep that concerns none of the program's own."""
    return _AT.get(error.field, error.field)


def also_choices(program: Program, form: Form) -> dict[str, list[tuple[str, bool]]]:
    """Return the additional choices of each choice, by the name of the form, and whether each is checked."""
    additional = {}
    for each in program.fields:
        if not each.chosen_by_owner:
            continue
        name = VALUE + each.name
        chosen = [*form.get(ALSO + name, []), *form.get(name, [])[1:]]
        blank = "" if each.default is None else value_text(each.default)
        first = next((value for value in form.get(name, []) if value), blank)
        choices = each.choices if each.type == "choice" else ["true", "false"]
        additional[name] = [(choice, choice in chosen) for choice in choices if choice != first]
    return additional


HOW_ROWS = (
    Row("method", "Method", "choice", "automatic: grid search, or random search if any field has a range"),
    Row("draws", "Draws", "whole", "number of configurations to try in a random or Bayesian search"),
    Row("metric", "Objective", "words", "the best value that the script logs of this metric counts"),
    Row(
        "direction",
        "Goal",
        "choice",
        "automatic: maximizes accuracies, F1, AUC, precision, recall and throughputs, minimizes other metrics",
    ),
    Row("pruning", "Pruning", "choice", "stops runs that lag behind the others after the same number of values"),
)
HOW_BLANKS = {"method": "automatic", "draws": str(DEFAULT_DRAWS), "metric": "val/acc"}
HOW_BLANKS |= {"direction": "automatic", "pruning": "none"}
HOW_CHOICES = {
    "method": ("grid", "random", "tpe"),
    "direction": ("maximize", "minimize"),
    "pruning": ("median", "asha"),
}
HOW_NAMES = {
    **{"grid": "grid search (all combinations)", "random": "random search", "tpe": "Bayesian search (TPE)"},
    **{"median": "median stopping", "asha": "ASHA (keep the best third)"},
}
