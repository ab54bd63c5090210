"""Translate run queries into SQL conditions; `app.store.search.parser` reads their syntax.

A term is a field with a value (``family:vit``, comma-separated for any of several), a comparison (``epochs>=20``;
``val/acc>0.9`` compares the best value of a metric, ``val/loss.last<0.2`` its last), or plain text to search for in
ids, names, notes and titles. Quote values that contain spaces or commas. All values are bound as parameters; nothing
is evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any

from app.contract.errors import QueryError
from app.contract.metric_names import is_share
from app.store.author import AUTHOR
from app.store.database import Words
from app.store.run import ACTIVE, STATES, TERMINAL
from app.store.search.parser import Part, Term
from app.store.search.parser import parse as parse_query
from app.store.search.sorting import COLUMNS, METRIC_COLUMNS, metric_figure

TEXT_FIELDS = {
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
    # Only commands have a program: the others are not parsed.
    "program": "CASE run.origin WHEN 'command' THEN json_extract(run.config, '$.program') END",
    "by": "run.created_by",
}
NUMBER_FIELDS = {
    name: value
    for name, value in COLUMNS.items()
    if name in ("number", "seed", "epochs", "batch_size", "lr", "params", "attempt", "duration")
} | {"priority": "run.priority"}
TIME_FIELDS = {name: COLUMNS[name] for name in ("created", "started", "ended")}
# Settings that exist only in a run's JSON configuration.
CONFIG_FIELDS = (
    "optimizer",
    "schedule",
    "weight_decay",
    "momentum",
    "lr_min",
    "warmup",
    "label_smoothing",
    "class_weights",
    "balanced_sampling",
    "clip_norm",
    "random_crop_scale",
    "crop_padding",
    "flip",
    "rotation",
    "color_jitter",
    "erasing",
    "mixup",
    "cutmix",
    "ema_decay",
    "mirror",
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
METRIC_FIGURES = {which: f"s.{column}" for which, column in METRIC_COLUMNS.items()}
COUNTED = ("status", "family", "size", "dataset", "number")
"""The columns that indexes of the run table have together, with the runs in the trash."""
SHORTEST = 3
"""The fewest characters that the index of searched texts can find."""
MOST_TRIGRAMS = 30
"""More would hardly narrow a search down any further."""
PARAMETER = "param."
"""Prefix of the parameters that scripts log."""
FIELD_NAMES = ("is", "tag", *TEXT_FIELDS, *NUMBER_FIELDS, *TIME_FIELDS, *CONFIG_FIELDS)

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "k": 1e3, "M": 1e6, "%": 0.01}


@dataclass
class SqlFilter:
    """A query as SQL over ``run``.

    ``walking``: worded so that no index serves it, for runs that are read one by one along another index. ``covered``:
    whether indexes alone answer it; ``costly``: whether it looks into every run, so that counting costs as much as
    reading all matches; ``texts``: conditions that search texts, where finding the matches is most of the work, each
    with the condition for ``searched_text x`` alone.
    """

    words: Words
    walking: bool = False
    conditions: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    covered: bool = True
    costly: bool = False
    texts: dict[str, str] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        """Bind a value and return its placeholder."""
        name = f"q{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def parse_filter(text: str, now: float, words: Words, walking: bool = False) -> SqlFilter:
    """Translate a query into SQL conditions. Raises QueryError with a sentence that lists the choices."""
    query = SqlFilter(words, walking)
    whole = parse_query(text)
    if len(whole.choices) == 1:
        query.conditions = [_part(query, part, now) for part in whole.choices[0]]
    else:
        query.conditions = [_part(query, whole, now)]
    return query


def _part(query: SqlFilter, part: Part, now: float) -> str:
    if isinstance(part, Term):
        condition = _condition(query, part, now)
    else:
        choices = [" AND ".join(_part(query, inner, now) for inner in choice) for choice in part.choices]
        condition = f"({' OR '.join(f'({choice})' for choice in choices)})"
    # NULL when the run lacks the value; coalesce makes "-lr>1" match those runs too.
    return f"NOT coalesce({condition}, FALSE)" if part.negated else condition


def _condition(query: SqlFilter, term: Term, now: float) -> str:
    name = term.name
    if not name:
        return _text(query, term.value)
    if not term.value:
        raise QueryError("q", f"{term.source} needs a value")
    query.covered = query.covered and name in (*COUNTED, "is", "tag")
    if name == "is":
        return _kind(term)
    if name == "tag":
        return _any_of(query, term, "t.tag", in_turn_tags if query.walking else indexed_tags)
    if name in TEXT_FIELDS:
        if name == "status":
            _known("status", term.values, STATES)
        if name == "by":
            # Who asks; while nobody has to sign in, runs that nobody is known to have created.
            values = tuple(AUTHOR.get() if value == "me" else value.lower() for value in term.values)
            return _any_of(query, replace(term, values=values), TEXT_FIELDS[name])
        value = TEXT_FIELDS[name]
        return _any_of(query, term, f"{value} || ''" if query.walking else value)
    if name in NUMBER_FIELDS or name in TIME_FIELDS:
        if name == "duration":
            query.values["now"] = now
        value = NUMBER_FIELDS.get(name) or TIME_FIELDS[name]
        return _compared(
            query, term, f"{value} + 0" if query.walking else value, _figure if name in NUMBER_FIELDS else _moment
        )
    query.costly = True
    if name in CONFIG_FIELDS:
        return _setting(query, term)
    if name.startswith(PARAMETER):
        return _parameter(query, term)
    if "/" in name:
        return _metric(query, term)
    if close := get_close_matches(name.lower(), FIELD_NAMES, 1):
        raise QueryError("q", f"no field '{name[:40]}'; did you mean {close[0]}?")
    fields = f"{', '.join(FIELD_NAMES)}, a parameter such as {PARAMETER}lr, or a metric such as val/acc"
    raise QueryError("q", f"no field '{name[:40]}'; fields: {fields}")


def _text(query: SqlFilter, value: str) -> str:
    # This character separates a run's texts.
    value = value.replace("\x1f", " ")
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found = f"x.text {query.words.like} {query.bind(f'%{escaped}%')} ESCAPE '\\'"
    if query.walking:
        return f"EXISTS (SELECT 1 FROM searched_text x WHERE x.number = run.number AND {found})"
    if query.words.trigrams and (sought := _trigrams(value)):
        narrowed = f"SELECT rowid FROM searched_trigram WHERE searched_trigram MATCH {query.bind(sought)}"
        found = f"x.number IN ({narrowed}) AND {found}"
    condition = f"run.number IN (SELECT x.number FROM searched_text x WHERE {found})"
    query.texts[condition] = found
    return condition


def _trigrams(value: str) -> str:
    """An FTS5 query for the sequences of three characters in a text; "" if there are none to look for."""
    # SQLite's own functions end a text at NUL.
    value = value.split("\0")[0]
    parts = dict.fromkeys(value[i : i + SHORTEST] for i in range(len(value) - SHORTEST + 1))
    quoted = (part.replace('"', '""') for part in list(parts)[:MOST_TRIGRAMS])
    return " AND ".join(f'"{part}"' for part in quoted)


def _kind(term: Term) -> str:
    _known("is", term.values, KINDS)
    return "(" + " OR ".join(KINDS[value] for value in term.values) + ")"


def _known(name: str, values: Sequence[str], exist: Any) -> None:
    for value in values:
        if value not in exist:
            choices = ", ".join(exist)
            if name == "is":
                raise QueryError("q", f"unknown value '{value[:40]}' for is; values: {choices}")
            raise QueryError("q", f"no status '{value[:40]}'; statuses: {choices}")


def in_turn_tags(condition: str) -> str:
    """The condition for a run with such a tag ``t.tag``, for runs that are read one by one."""
    return f"EXISTS (SELECT 1 FROM run_tag t WHERE t.run = run.id AND {condition})"


def indexed_tags(condition: str) -> str:
    """The same, from indexes alone."""
    # CROSS JOIN makes SQLite read the index of tags first. It then takes the index that has the number, because of the
    # condition for it.
    numbers = f"SELECT n.number FROM run_tag t CROSS JOIN run n WHERE n.id = t.run AND n.number > 0 AND {condition}"
    return f"run.number IN ({numbers})"


def _any_of(query: SqlFilter, term: Term, value: str, within: Callable[[str], str] = str) -> str:
    if term.operator not in (":", "=", "!="):
        raise QueryError("q", f"{term.name} is a text field; use {term.name}:{term.value[:40]}")
    bound = ", ".join(query.bind(value) for value in term.values if value or term.name == "by")
    if not bound:
        raise QueryError("q", f"{term.source} needs a value")
    condition = within(f"{value} IN ({bound})")
    return f"NOT coalesce({condition}, FALSE)" if term.operator == "!=" else condition


def _compared(query: SqlFilter, term: Term, value: str, parse: Callable[[Term, str], float]) -> str:
    if term.operator in (":", "=", "!="):
        bound = ", ".join(query.bind(parse(term, value)) for value in term.values)
        return f"({value}) {'NOT IN' if term.operator == '!=' else 'IN'} ({bound})"
    return f"({value}) {term.operator} {query.bind(parse(term, term.value))}"


def _figure(term: Term, text: str) -> float:
    match = re.fullmatch(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([A-Za-z%]*)", text, re.IGNORECASE)
    try:
        value = float(match[1]) if match else math.nan
    except ValueError:
        value = math.nan
    unit = match[2] if match else ""
    if not math.isfinite(value) or (unit and unit not in _UNITS):
        raise QueryError("q", f"'{text[:40]}' is not a number; write {term.name}{term.operator}{_example(term.name)}")
    return value * _UNITS.get(unit, 1.0)


def _example(field: str) -> str:
    known = {"duration": "10m", "lr": "0.01", "params": "100k", "batch_size": "128", "epochs": "20"}
    if field in known:
        return known[field]
    if "/" in field:
        return "0.98" if is_share(metric_figure(field)[0]) else "0.5"
    return "1" if field in NUMBER_FIELDS else "0.1"


def _share(term: Term, text: str) -> float:
    """Read a number between 0 and 1, such as an accuracy, which is shown in percent."""
    value = _figure(term, text)
    if value > 1 and not text.endswith("%"):
        comparison = term.name + term.operator
        below = f"{comparison}{value / 100:g} or {comparison}{value:g}%"
        raise QueryError("q", f"{term.name} is between 0 and 1; did you mean {below}?")
    return value


def _moment(term: Term, text: str) -> float:
    try:
        if len(text) <= 10:
            return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise QueryError("q", f"'{text[:40]}' is not a date; write {term.name}>2026-11-01 (UTC)") from error


def _setting(query: SqlFilter, term: Term) -> str:
    number = f"{query.words.json_number}(run.config, '$.{term.name}')"
    if term.value in ("true", "yes", "false", "no"):
        flag = query.bind(int(term.value in ("true", "yes")))
        return f"{number} {'!=' if term.operator == '!=' else '='} {flag}"
    try:
        _figure(term, term.values[0])
    except QueryError:
        return _any_of(query, term, f"json_extract(run.config, '$.{term.name}')")
    return _compared(query, term, number, _figure)


def _parameter(query: SqlFilter, term: Term) -> str:
    """Compare a parameter that a script logged, or the value of a program's field: both are text."""
    path = query.bind(f'$.options."{term.name.removeprefix(PARAMETER)}"')
    value = f"CASE WHEN run.origin != '' THEN json_extract(run.config, {path}) END"
    try:
        _figure(term, term.values[0])
    except QueryError:
        return _any_of(query, term, value)
    return _compared(query, term, query.words.text_number.format(value), _figure)


def _metric(query: SqlFilter, term: Term) -> str:
    name, which = metric_figure(term.name)
    metric = query.bind(name)
    if term.value in ("any", "none") and term.operator == ":":
        exists = f"EXISTS (SELECT 1 FROM metric_series s WHERE s.run = run.id AND s.name = {metric})"
        return exists if term.value == "any" else f"NOT {exists}"
    figure = _share if is_share(name) else _figure
    condition = _compared(query, term, METRIC_FIGURES[which], figure)
    return f"EXISTS (SELECT 1 FROM metric_series s WHERE s.run = run.id AND s.name = {metric} AND {condition})"
