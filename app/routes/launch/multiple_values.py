"""Several values in one field of the form: what makes a sweep of it.

In a field for a number they stand between commas, "1e-3, 3e-4", or as a range to draw from: "log 1e-4 .. 1e-1",
"16 .. 128 step 16". Where one of a few words is chosen, the others that are to be tried as well have boxes of their
own, named ``also.FIELD``; an address may also name a field several times.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.contract.errors import sentence
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import NUMBERS, OPTION, SWEPT, WHOLE, SweepSpec

Form = dict[str, list[str]]

ALSO = "also."
HOW = ("method", "draws", "metric", "pruning")
"""Fields of the form that say how a sweep goes about it; they matter only where there is one."""
OWN = ("seeds", *HOW)
FIRST = ("family", "size", "dataset", "recipe")
"""What a run is called by, which stands first in a sweep too."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
RANGE = re.compile(rf"(log\s+)?({NUMBER})\s*\.\.\s*({NUMBER})(?:\s+step\s+({NUMBER}))?", re.IGNORECASE)


@dataclass
class MultipleValues:
    """What a form varies. ``values`` and ``ranges`` by field; None among the values is what a blank there means.

    ``typed``: the words of fields that hold several values, as they stand there. ``how``: method, draws, metric,
    pruning and seeds, as they were typed.
    """

    values: dict[str, list[Any]] = field(default_factory=dict)
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)
    typed: Form = field(default_factory=dict)
    also: Form = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> list[str]:
        """The fields that hold several values."""
        return [*self.values, *self.ranges]

    @property
    def seeds(self) -> str:
        """How many seeds, as it was typed; blank for one."""
        given = self.how.get("seeds", "").strip()
        return "" if given == "1" else given

    @property
    def sweeping(self) -> bool:
        """Whether more than one run is meant."""
        return bool(self.fields or self.seeds)

    @property
    def method(self) -> str:
        """How values are chosen: as was given, else random where a field holds a range."""
        given = self.how.get("method", "").strip()
        return given or ("random" if self.ranges else "grid")

    def count(self, name: str) -> str:
        """How many values a field holds, in words; blank for one."""
        if name in self.ranges:
            return "a range"
        return f"{len(self.values[name])} values" if name in self.values else ""

    def spec(self, given: Mapping[str, Any], blanks: Mapping[str, Any]) -> SweepSpec:
        """The sweep of a form whose other fields say ``given``. Raises SpecError."""
        base = {name: value for name, value in given.items() if name not in self.fields and name != "name"}
        options = {n: v for n, v in base.get("options", {}).items() if OPTION + n not in self.fields}
        base = {name: value for name, value in base.items() if name != "options"}
        base |= {"options": options} if options else {}
        asked: dict[str, Any] = {"base": base}
        if self.values:
            ordered = sorted(
                self.values, key=lambda name: (name not in FIRST, FIRST.index(name) if name in FIRST else 0)
            )
            asked["grid"] = {name: [_filled(name, v, blanks) for v in self.values[name]] for name in ordered}
        if self.ranges:
            asked["space"] = self.ranges
        if self.seeds:
            asked["seeds"] = self.seeds
        if self.fields and self.method != "grid":
            asked |= {"method": self.method}
            asked |= {"draws": self.how["draws"]} if self.how.get("draws", "").strip() else {}
        if (metric := self.how.get("metric", "").strip()) not in ("", "val/acc"):
            asked["metric"] = metric
        if self.how.get("pruning", "").strip():
            asked["pruning"] = self.how["pruning"].strip()
        if given.get("name"):
            asked["name"] = given["name"]
        try:
            return SweepSpec.model_validate(asked)
        except ValidationError as error:
            raise SpecError([_placed(sentence(each)) for each in error.errors(include_url=False)]) from error

    def pairs(self, without: set[str] | frozenset[str]) -> list[tuple[str, str]]:
        """What stands in the address of the form for all this, without some of the fields."""
        found = [(ALSO + name, value) for name, values in self.also.items() if name not in without for value in values]
        if self.seeds and "seeds" not in without:
            found.append(("seeds", self.seeds))
        return found + [
            (name, self.how[name]) for name in HOW if self.how.get(name, "").strip() and name not in without
        ]


def split_values(form: Form) -> tuple[Form, MultipleValues]:
    """The form with one value in each field, the first, and what it varies."""
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
            _read_words(name, values, one, multiple)
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


def _read_words(name: str, values: list[str], one: Form, multiple: MultipleValues) -> None:
    words = ", ".join(value.strip() for value in values if value.strip())
    if (found := read_range(words)) is not None:
        multiple.ranges[name], multiple.typed[name], one[name] = found, [words], []
    elif "," in words:
        multiple.typed[name] = [words]
        numbers = read_values(name, words)
        if len(numbers) > 1:
            multiple.values[name] = numbers
        one[name] = [words.split(",")[0].strip()] if numbers else []


def read_range(words: str) -> dict[str, Any] | None:
    """A range as it is typed: "log 1e-4 .. 1e-1", "16 .. 128 step 16"; None for anything else."""
    found = RANGE.fullmatch(words.strip())
    if found is None:
        return None
    log, low, high, step = found.groups()
    space: dict[str, Any] = {"low": _number(low), "high": _number(high)}
    return space | ({"log": True} if log else {}) | ({"step": _number(step)} if step else {})


def read_values(name: str, words: str) -> list[Any]:
    """Values between commas, each once: numbers where the field holds them; what is none is left to be refused."""
    parts = [part.strip() for part in words.split(",") if part.strip()]
    numeric = name in (*WHOLE, *NUMBERS)
    values = [_number(part) if numeric and re.fullmatch(NUMBER, part, re.IGNORECASE) else part for part in parts]
    return list(dict.fromkeys(values))


def _number(words: str) -> int | float:
    value = float(words)
    return int(value) if value.is_integer() and re.fullmatch(r"[-+]?\d+", words) else value


def _filled(name: str, value: Any, blanks: Mapping[str, Any]) -> Any:
    """A value as a sweep's grid has it; what a blank means is given."""
    if value is not None:
        return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    if name.startswith(OPTION):
        return blanks.get("options", {}).get(name.removeprefix(OPTION))
    return blanks.get(name)


def _placed(error: FieldError) -> FieldError:
    """An error of a sweep at the field of the form that it is about."""
    found = re.match(r"(?:grid|space)\.([\w.]+?)(?:\.(?:choice|range))?(?:\.(\w+))?(:| )", error.message)
    if error.field in ("grid", "space") and found:
        name = found.group(1)
        return FieldError(name, f"{name} {error.message[found.end() :].strip()}")
    return error
