"""Several values in one field of the launch form, which make it a sweep.

A number field takes comma-separated values, "1e-3, 3e-4", or a range to draw from: "log 1e-4 .. 1e-1",
"16 .. 128 step 16", or as on the command line, "1e-4..1e-1:log", "16..128:16". A choice field has checkboxes for the
additional choices, named ``also.FIELD``; a URL may also repeat a field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.contract.errors import to_field_errors
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import NUMBERS, OPTION, SWEPT, WHOLE, SweepSpec

Form = dict[str, list[str]]

ALSO = "also."
HOW = ("method", "draws", "metric", "pruning")
"""Form fields that configure the sweep; without a sweep they have no effect."""
OWN = ("seeds", *HOW)
FIRST = ("family", "size", "dataset", "recipe")
"""The fields of a run's title, which come first in a sweep too."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
RANGE = re.compile(
    rf"(?P<log>log\s+)?(?P<low>{NUMBER})\s*\.\.\s*(?P<high>{NUMBER})"
    rf"(?:\s+step\s+(?P<step>{NUMBER})|\s*:\s*(?:(?P<suffix>log)|(?P<by>{NUMBER})))?",
    re.IGNORECASE,
)


@dataclass
class MultipleValues:
    """The fields that a form varies. ``values`` and ``ranges`` by field; None among the values means the default.

    ``typed``: the text of fields with several values. ``how``: method, draws, metric, pruning and seeds, as typed.
    """

    values: dict[str, list[Any]] = field(default_factory=dict)
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)
    typed: Form = field(default_factory=dict)
    also: Form = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        """The fields with several values."""
        return [*self.values, *self.ranges]

    @property
    def seeds(self) -> str:
        """The number of seeds as typed; blank for one."""
        given = self.how.get("seeds", "").strip()
        return "" if given == "1" else given

    @property
    def sweeping(self) -> bool:
        """Whether the form launches a sweep."""
        return bool(self.fields or self.seeds)

    @property
    def method(self) -> str:
        """The chosen search method; by default random if a field has a range, else grid."""
        given = self.how.get("method", "").strip()
        return given or ("random" if self.ranges else "grid")

    def count(self, name: str) -> str:
        """Return the number of values in a field as text; blank for one."""
        if name in self.ranges:
            return "range"
        return f"{len(self.values[name])} values" if name in self.values else ""

    def spec(self, given: Mapping[str, Any], blanks: Mapping[str, Any]) -> SweepSpec:
        """Return the sweep of a form whose other fields are ``given``. Raises SpecError."""
        base = {name: value for name, value in given.items() if name not in self.fields and name != "name"}
        options = {n: v for n, v in base.get("options", {}).items() if OPTION + n not in self.fields}
        base = {name: value for name, value in base.items() if name != "options"}
        base |= {"options": options} if options else {}
        spec: dict[str, Any] = {"base": base}
        if self.values:
            ordered = sorted(
                self.values, key=lambda name: (name not in FIRST, FIRST.index(name) if name in FIRST else 0)
            )
            spec["grid"] = {name: [_filled(name, v, blanks) for v in self.values[name]] for name in ordered}
        if self.ranges:
            spec["space"] = self.ranges
        if self.seeds:
            spec["seeds"] = self.seeds
        if self.fields and self.method != "grid":
            spec |= {"method": self.method}
            spec |= {"draws": self.how["draws"]} if self.how.get("draws", "").strip() else {}
        if (metric := self.how.get("metric", "").strip()) not in ("", "val/acc"):
            spec["metric"] = metric
        if self.how.get("pruning", "").strip():
            spec["pruning"] = self.how["pruning"].strip()
        if given.get("name"):
            spec["name"] = given["name"]
        try:
            return SweepSpec.model_validate(spec)
        except ValidationError as error:
            raise SpecError([placed(each) for each in to_field_errors(error.errors(include_url=False))]) from error

    def pairs(self, without: set[str] | frozenset[str]) -> list[tuple[str, str]]:
        """Return the URL parameters of the form's sweep, except the fields in ``without``."""
        parameters = [
            (ALSO + name, value) for name, values in self.also.items() if name not in without for value in values
        ]
        if self.seeds and "seeds" not in without:
            parameters.append(("seeds", self.seeds))
        return parameters + [
            (name, self.how[name]) for name in HOW if self.how.get(name, "").strip() and name not in without
        ]


def split_values(form: Form) -> tuple[Form, MultipleValues]:
    """Split a form into one with a single value per field (the first) and the fields that it varies."""
    one, multiple = dict(form), MultipleValues()
    for name in OWN:
        multiple.how |= {name: one.pop(name)[0]} if one.get(name) else {}
    for name, values in form.items():
        if name in OWN:
            continue
        if name.startswith(ALSO):
            one.pop(name)
            multiple.also |= {name.removeprefix(ALSO): [v for v in values if v.strip()]}
        elif name in (*WHOLE, *NUMBERS) and values:
            _read_number_field(name, values, one, multiple)
    for name in [name for name in form if _swept(name)] + [n for n in multiple.also if n not in form and _swept(n)]:
        named = [value for value in form.get(name, []) if value.strip()]
        if name in (*WHOLE, *NUMBERS, "targets"):
            continue
        first: list[Any] = named[:1] or [None]
        values = list(dict.fromkeys([*first, *named[1:], *multiple.also.get(name, [])]))
        if len(values) > 1:
            multiple.values[name] = values
            multiple.also[name] = [value for value in values[1:] if value is not None]
            one[name] = [values[0] or ""]
    return one, multiple


def _swept(name: str) -> bool:
    return name in SWEPT or name.startswith(OPTION)


def _read_number_field(name: str, values: list[str], one: Form, multiple: MultipleValues) -> None:
    text = ", ".join(value.strip() for value in values if value.strip())
    if (space := read_range(text)) is not None:
        multiple.ranges[name], multiple.typed[name], one[name] = space, [text], []
    elif "," in text:
        multiple.typed[name] = [text]
        numbers = read_values(name, text)
        if len(numbers) > 1:
            multiple.values[name] = numbers
        one[name] = [text.split(",")[0].strip()] if numbers else []


def read_range(text: str) -> dict[str, Any] | None:
    """Parse a range such as "log 1e-4 .. 1e-1", "16 .. 128 step 16" or "16..128:16"; None for anything else."""
    match = RANGE.fullmatch(text.strip())
    if match is None:
        return None
    log, step = match["log"] or match["suffix"], match["step"] or match["by"]
    space: dict[str, Any] = {"low": _number(match["low"]), "high": _number(match["high"])}
    return space | ({"log": True} if log else {}) | ({"step": _number(step)} if step else {})


def read_values(name: str, text: str) -> list[Any]:
    """Parse comma-separated values without duplicates: numbers in number fields; validation rejects anything else."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    numeric = name in (*WHOLE, *NUMBERS)
    values = [_number(part) if numeric and re.fullmatch(NUMBER, part, re.IGNORECASE) else part for part in parts]
    return list(dict.fromkeys(values))


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() and re.fullmatch(r"[-+]?\d+", text) else value


def _filled(name: str, value: Any, blanks: Mapping[str, Any]) -> Any:
    """Return a value for a sweep's grid, with the default filled in for None."""
    if value is not None:
        return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    if name.startswith(OPTION):
        return blanks.get("options", {}).get(name.removeprefix(OPTION))
    return blanks.get(name)


def placed(error: FieldError) -> FieldError:
    """Assign a sweep's error to the form field that it concerns."""
    match = re.match(r"(?:grid|space)\.([\w.-]+?)(?:\.(?:choice|range))?(?:\.(\w+))?(:| )", error.message)
    if error.field in ("grid", "space") and match:
        name = match.group(1)
        return FieldError(name, f"{name} {error.message[match.end() :].strip()}")
    return error
