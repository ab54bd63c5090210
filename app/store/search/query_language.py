"""What the words of a question about runs mean, whose form `app.store.search.parser` reads.

A term is a field with a value (``family:vit``, several by comma: one of them), a figure compared (``epochs>=20``;
``val/acc>0.9``: the best value of a metric; ``val/loss.last<0.2``: another one), or a text that is looked for in ids,
names, notes and titles. Values with spaces or commas stand in quotes. All are bound as parameters; nothing is
evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from app.contract.errors import QueryError
from app.store.run import ACTIVE, STATES, TERMINAL
from app.store.search.parser import Part, Term, read
from app.store.search.sorting import COLUMNS, metric_figure
from app.store.search.sorting import OF_METRIC as FIGURES_OF_METRIC

WORDS = {
    "id": "run.id",
    "name": "run.name",
    "status": "run.status",
    "family": "run.family",
    "size": "run.size",
    "dataset": "run.dataset",
    "recipe": "run.recipe",
    "device": "run.device",
    "worker": "run.worker",
    "sweep": "run.sweep",
    "parent": "run.parent",
}
FIGURES = {
    name: value
    for name, value in COLUMNS.items()
    if name in ("number", "seed", "epochs", "batch_size", "lr", "params", "attempt", "duration")
} | {"priority": "run.priority"}
MOMENTS = {name: COLUMNS[name] for name in ("created", "started", "ended")}
# What is kept of a run's configuration alone.
SETTINGS = (
    "optimizer",
    "schedule",
    "weight_decay",
    "momentum",
    "lr_min",
    "warmup",
    "label_smoothing",
    "clip_norm",
    "crop_padding",
    "flip",
    "rotation",
    "normalization",
    "precision",
    "auxiliary",
    "early_stopping",
)
KINDS = {
    "live": f"run.status NOT IN {TERMINAL}",
    "running": f"run.status IN {ACTIVE}",
    "ended": f"run.status IN {TERMINAL}",
}
OF_METRIC = {which: f"s.{column}" for which, column in FIGURES_OF_METRIC.items()}
SEARCHED = ("run.id", "run.name", "run.notes", "run.family || ' ' || run.size || ' ' || run.dataset")
NAMES = ("is", "tag", *WORDS, *FIGURES, *MOMENTS, *SETTINGS)

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "k": 1e3, "M": 1e6, "%": 0.01}


@dataclass
class Asked:
    """What a text asks for, as SQL over ``run``; ``texts`` says whether a text is looked for in every run."""

    conditions: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    texts: bool = False

    def bind(self, value: Any) -> str:
        """A parameter with this value."""
        name = f"q{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def asked_by(said: str, now: float) -> Asked:
    """What a text asks for. Raises QueryError with a sentence that says what exists."""
    asked = Asked()
    whole = read(said)
    if len(whole.choices) == 1:
        asked.conditions = [_part(asked, part, now) for part in whole.choices[0]]
    else:
        asked.conditions = [_part(asked, whole, now)]
    return asked


def _part(asked: Asked, part: Part, now: float) -> str:
    if isinstance(part, Term):
        condition = _condition(asked, part, now)
    else:
        choices = [" AND ".join(_part(asked, each, now) for each in choice) for choice in part.choices]
        condition = f"({' OR '.join(f'({each})' for each in choices)})"
    # Of a run that has no such value, neither it nor its opposite is true; "-lr>1" means all the others.
    return f"NOT coalesce({condition}, FALSE)" if part.no else condition


def _condition(asked: Asked, term: Term, now: float) -> str:
    name = term.name
    if not name:
        return _text(asked, term.value)
    if not term.value:
        raise QueryError("q", f"{term.said} names no value")
    if name == "is":
        return _kind(term)
    if name == "tag":
        return _any_of(asked, term, "t.tag", _tags)
    if name in WORDS:
        if name == "status":
            _known("status", term.values, STATES)
        return _any_of(asked, term, WORDS[name])
    if name in FIGURES:
        if name == "duration":
            asked.values["now"] = now
        return _compared(asked, term, FIGURES[name], _figure)
    if name in MOMENTS:
        return _compared(asked, term, MOMENTS[name], _moment)
    if name in SETTINGS:
        return _setting(asked, term)
    if "/" in name:
        return _metric(asked, term)
    raise QueryError("q", f"no field '{name[:40]}'; fields: {', '.join(NAMES)}, or a metric such as val/acc")


def _text(asked: Asked, value: str) -> str:
    asked.texts = True
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    bound = asked.bind(f"%{escaped}%")
    return "(" + " OR ".join(f"{column} LIKE {bound} ESCAPE '\\'" for column in SEARCHED) + ")"


def _kind(term: Term) -> str:
    _known("is", term.values, KINDS)
    return "(" + " OR ".join(KINDS[value] for value in term.values) + ")"


def _known(name: str, values: Sequence[str], exist: Any) -> None:
    for value in values:
        if value not in exist:
            raise QueryError("q", f"no {name} '{value[:40]}'; there are {', '.join(exist)}")


def _tags(condition: str) -> str:
    return f"EXISTS (SELECT 1 FROM run_tag t WHERE t.run = run.id AND {condition})"


def _any_of(asked: Asked, term: Term, value: str, within: Callable[[str], str] = str) -> str:
    if term.how not in (":", "=", "!="):
        raise QueryError("q", f"{term.name} is a word: write {term.name}:{term.value[:40]}")
    bound = ", ".join(asked.bind(each) for each in term.values if each)
    if not bound:
        raise QueryError("q", f"{term.said} names no value")
    condition = within(f"{value} IN ({bound})")
    return f"NOT coalesce({condition}, FALSE)" if term.how == "!=" else condition


def _compared(asked: Asked, term: Term, value: str, read: Callable[[Term, str], float]) -> str:
    if term.how in (":", "=", "!="):
        bound = ", ".join(asked.bind(read(term, each)) for each in term.values)
        return f"({value}) {'NOT IN' if term.how == '!=' else 'IN'} ({bound})"
    return f"({value}) {term.how} {asked.bind(read(term, term.value))}"


def _figure(term: Term, said: str) -> float:
    match = re.fullmatch(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([A-Za-z%]*)", said, re.IGNORECASE)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    unit = match[2] if match else ""
    if not math.isfinite(value) or (unit and unit not in _UNITS):
        example = "10m" if term.name == "duration" else "0.98"
        raise QueryError("q", f"'{said[:40]}' is no number that {term.name} can be compared with; say {example}")
    return value * _UNITS.get(unit, 1.0)


def _share(term: Term, said: str) -> float:
    """A figure of an accuracy, which is a share of 1, though it is shown in percent."""
    value = _figure(term, said)
    if value > 1 and not said.endswith("%"):
        asked = term.name + term.how
        raise QueryError("q", f"{term.name} is a share of 1: write {asked}{value / 100:g} or {asked}{value:g}%")
    return value


def _moment(term: Term, said: str) -> float:
    try:
        if len(said) <= 10:
            return datetime.combine(date.fromisoformat(said), datetime.min.time(), UTC).timestamp()
        at = datetime.fromisoformat(said)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise QueryError("q", f"'{said[:40]}' is no day; say {term.name}>2026-11-01 (UTC)") from error


def _setting(asked: Asked, term: Term) -> str:
    value = f"json_extract(run.config, '$.{term.name}')"
    if term.value in ("true", "yes", "false", "no"):
        wanted = asked.bind(int(term.value in ("true", "yes")))
        return f"{value} {'!=' if term.how == '!=' else '='} {wanted}"
    try:
        _figure(term, term.values[0])
    except QueryError:
        return _any_of(asked, term, value)
    return _compared(asked, term, value, _figure)


def _metric(asked: Asked, term: Term) -> str:
    name, which = metric_figure(term.name)
    metric = asked.bind(name)
    if term.value in ("any", "none") and term.how == ":":
        there = f"EXISTS (SELECT 1 FROM metric_series s WHERE s.run = run.id AND s.name = {metric})"
        return there if term.value == "any" else f"NOT {there}"
    figure = _share if name.rpartition("/")[2] == "acc" else _figure
    condition = _compared(asked, term, OF_METRIC[which], figure)
    return f"EXISTS (SELECT 1 FROM metric_series s WHERE s.run = run.id AND s.name = {metric} AND {condition})"
