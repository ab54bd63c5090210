"""Parser of MLflow's search language into SQL conditions; anything else is rejected with a sentence.

``metrics.acc > 0.9 AND params.lr = '0.1' AND tags."my key" LIKE 'a%' AND attributes.status IN ('FINISHED')``
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.contract.errors import Invalid

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.)*"|`[^`]*`)
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<operator><=|>=|!=|<>|=|<|>)
    |(?P<mark>[(),.])
    |(?P<word>[^\s'"`(),.<>=!]+)
    )""",
    re.VERBOSE,
)
_KINDS = {
    "metric": "metrics",
    "metrics": "metrics",
    "param": "params",
    "params": "params",
    "parameter": "params",
    "parameters": "params",
    "tag": "tags",
    "tags": "tags",
    "attribute": "attributes",
    "attributes": "attributes",
    "attr": "attributes",
    "run": "attributes",
}
STATES = {
    "RUNNING": ("running",),
    "SCHEDULED": (),
    "FINISHED": ("succeeded",),
    "FAILED": ("failed",),
    "KILLED": ("cancelled",),
}
_ORDERED = ("<", "<=", ">", ">=")
LONGEST = 6000
MOST_TERMS = 50


@dataclass(frozen=True)
class Token:
    kind: str
    text: str


@dataclass
class Sql:
    """The bound values of SQL conditions."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        """Bind a value and return its placeholder."""
        name = f"f{len(self.values)}"
        self.values[name] = value
        return f":{name}"


@dataclass(frozen=True)
class Term:
    """One comparison: ``kind`` and ``key`` of the compared value, the operator ``how``, and the other value."""

    kind: str
    key: str
    how: str
    value: float | str | tuple[str, ...] | None


@dataclass(frozen=True)
class Column:
    """A searchable attribute: its SQL expression, and whether it is a number."""

    expression: str
    number: bool = False


RUN_COLUMNS = {
    "run_id": Column("run.id"),
    "run_name": Column("run.name"),
    "Run name": Column("run.name"),
    "run name": Column("run.name"),
    "status": Column("run.status"),
    "user_id": Column('logged."user"'),
    "start_time": Column("run.started_at * 1000", True),
    "created": Column("run.started_at * 1000", True),
    "end_time": Column("run.ended_at * 1000", True),
    "artifact_uri": Column("''"),
}
EXPERIMENT_COLUMNS = {
    "name": Column("name"),
    "experiment_id": Column("CAST(id AS TEXT)"),
    "creation_time": Column("created_at * 1000", True),
    "last_update_time": Column("updated_at * 1000", True),
}


def tokens(filter_text: str) -> list[Token]:
    """Split a filter into tokens."""
    if len(filter_text) > LONGEST:
        raise Invalid(f"a filter can have at most {LONGEST:,} characters")
    result, at = [], 0
    while at < len(filter_text.rstrip()):
        match = _TOKEN.match(filter_text, at)
        if match is None:
            raise Invalid(f"cannot parse the filter at '{filter_text[at : at + 30].strip()}'")
        kind = match.lastgroup or ""
        result.append(Token(kind, match[kind]))
        at = match.end()
    return result


class _Reader:
    """A recursive-descent parser of filter terms."""

    def __init__(self, filter_text: str, columns: Mapping[str, Column]) -> None:
        self.tokens = tokens(filter_text)
        self.columns = columns
        self.at = 0

    def terms(self) -> list[Term]:
        terms: list[Term] = []
        while self.at < len(self.tokens):
            if terms:
                word = self._next("AND").text.upper()
                if word != "AND":
                    unsupported = "OR" if word == "OR" else f"'{word[:30]}'"
                    raise Invalid(f"{unsupported} is not supported here; join the terms of a filter with AND")
            terms.append(self._term())
        if len(terms) > MOST_TERMS:
            raise Invalid(f"a filter can have at most {MOST_TERMS} terms")
        return terms

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _next(self, wanted: str) -> Token:
        token = self._peek()
        if token is None:
            raise Invalid(f"the filter is incomplete: expected {wanted}")
        self.at += 1
        return token

    def key(self) -> tuple[str, str]:
        """Read a name such as ("metrics", "val/acc")."""
        first = self._next("a name such as metrics.acc")
        name = unquoted(first) if first.kind == "string" else first.text
        if first.kind not in ("word", "string"):
            raise Invalid(f"expected a name such as metrics.acc, not '{first.text[:30]}'")
        dot = self._peek()
        if dot is None or dot.text != ".":
            return "attributes", self._attribute(name)
        self.at += 1
        kind = _KINDS.get(name.lower())
        if kind is None:
            raise Invalid(f"unknown prefix '{name[:30]}.'; prefixes: metrics., params., tags., attributes.")
        token = self._next("a name")
        key = unquoted(token) if token.kind == "string" else token.text
        # A name with dots or slashes needs no quotes.
        while token.kind != "string" and (more := self._peek()) is not None and more.text == ".":
            self.at += 1
            key += "." + self._next("a name").text
        return kind, self._attribute(key) if kind == "attributes" else key

    def _attribute(self, name: str) -> str:
        if name not in self.columns:
            raise Invalid(f"no attribute '{name[:40]}'; attributes: {', '.join(self.columns)}")
        return name

    def _term(self) -> Term:
        kind, key = self.key()
        token = self._next("a comparison")
        how = token.text.upper()
        if how == "<>":
            how = "!="
        if how == "NOT":
            how = f"NOT {self._next('IN').text.upper()}"
        if how == "IS":
            return Term(kind, key, self._null(), None)
        if how in ("IN", "NOT IN"):
            return Term(kind, key, how, self._list())
        if token.kind != "operator" and how not in ("LIKE", "ILIKE"):
            raise Invalid(f"'{how[:30]}' is not a comparison; use = != < <= > >= LIKE ILIKE IN, NOT IN or IS NULL")
        value = self._next("a value")
        if value.kind == "number":
            return Term(kind, key, how, float(value.text))
        if value.kind == "string" and not value.text.startswith("`"):
            return Term(kind, key, how, unquoted(value))
        raise Invalid(f"'{value.text[:30]}' is not a value; use a number or quoted text")

    def _null(self) -> str:
        word = self._next("NULL").text.upper()
        negated = word == "NOT"
        word = self._next("NULL").text.upper() if negated else word
        if word != "NULL":
            raise Invalid(f"IS must be followed by NULL or NOT NULL, not '{word[:30]}'")
        return "IS NOT NULL" if negated else "IS NULL"

    def _list(self) -> tuple[str, ...]:
        if self._next("(").text != "(":
            raise Invalid("IN must be followed by values in parentheses, such as ('a', 'b')")
        values = []
        while True:
            value = self._next("a value")
            if value.kind != "string":
                raise Invalid("the values of IN must be quoted text")
            values.append(unquoted(value))
            mark = self._next(")").text
            if mark == ")":
                return tuple(values)
            if mark != ",":
                raise Invalid(f"expected a comma or ), not '{mark[:30]}'")


def unquoted(token: Token) -> str:
    """Return the text between a token's quotes."""
    quote, inner = token.text[0], token.text[1:-1]
    if quote == "`":
        return inner
    return re.sub(r"\\(.)", r"\1", inner.replace("''", "'") if quote == "'" else inner)


def terms_of(filter_text: str, columns: Mapping[str, Column]) -> list[Term]:
    """Return the terms of a filter on what has these attributes."""
    return _Reader(filter_text, columns).terms()


def run_condition(filter_text: str, sql: Sql) -> str:
    """Return the SQL condition of a run filter, on the tables ``run`` and ``logged``."""
    terms = _Reader(filter_text, RUN_COLUMNS).terms()
    return " AND ".join([_RUN_TERMS[term.kind](term, sql) for term in terms]) or "TRUE"


def experiment_condition(filter_text: str, sql: Sql) -> str:
    """Return the SQL condition of an experiment filter."""
    conditions = []
    for term in _Reader(filter_text, EXPERIMENT_COLUMNS).terms():
        if term.kind == "tags":
            conditions.append(text_entry(term, sql, "json_each(experiment.tags)"))
        elif term.kind == "attributes":
            conditions.append(attribute_condition(term, sql, EXPERIMENT_COLUMNS[term.key]))
        else:
            raise Invalid(f"experiments have no {term.kind}, only attributes and tags")
    return " AND ".join(conditions) or "TRUE"


def _metric(term: Term, sql: Sql) -> str:
    query = f"SELECT 1 FROM metric_series s WHERE s.run = run.id AND s.name = {sql.bind(term.key)}"
    if term.how in ("IS NULL", "IS NOT NULL"):
        return f"{'NOT ' if term.how == 'IS NULL' else ''}EXISTS ({query})"
    if term.how not in (*_ORDERED, "=", "!=") or not isinstance(term.value, float):
        raise Invalid(f"metric '{term.key[:60]}' can only be compared with a number, using = != < <= > >=")
    return f"EXISTS ({query} AND s.last {term.how} {sql.bind(term.value)})"


def text_entry(term: Term, sql: Sql, source: str) -> str:
    """Return the SQL condition of a named text; ``source``: a table with the columns ``key`` and ``value``."""
    query = f"SELECT 1 FROM {source} t WHERE t.key = {sql.bind(term.key)}"
    if term.how in ("IS NULL", "IS NOT NULL"):
        return f"{'NOT ' if term.how == 'IS NULL' else ''}EXISTS ({query})"
    return f"EXISTS ({query} AND {_text(term, sql, 't.value')})"


def _text(term: Term, sql: Sql, value: str) -> str:
    if isinstance(term.value, tuple):
        bound = ", ".join(sql.bind(each) for each in term.value)
        return f"{value} {term.how} ({bound})"
    if isinstance(term.value, float) or term.value is None or term.how in _ORDERED:
        raise Invalid(f"'{term.key[:60]}' is text and can only be compared with quoted text, using = != LIKE ILIKE IN")
    if term.how == "ILIKE":
        return f"lower({value}) LIKE lower({sql.bind(term.value)}) ESCAPE '\\'"
    if term.how == "LIKE":
        # SQLite's LIKE ignores case; glob() does not.
        return f"glob({sql.bind(_glob(term.value))}, {value})"
    return f"{value} {term.how} {sql.bind(term.value)}"


def _glob(pattern: str) -> str:
    marks = {"*": "[*]", "?": "[?]", "[": "[[]", "%": "*", "_": "?"}
    return "".join(marks.get(character, character) for character in pattern)


def attribute_condition(term: Term, sql: Sql, column: Column) -> str:
    """Return the SQL condition of an attribute."""
    if term.how in ("IS NULL", "IS NOT NULL"):
        return f"{column.expression} {term.how}"
    if not column.number:
        return _text(term, sql, column.expression)
    if term.how not in (*_ORDERED, "=", "!=") or not isinstance(term.value, float):
        raise Invalid(f"{term.key} is a number and can only be compared with a number, using = != < <= > >=")
    return f"{column.expression} {term.how} {sql.bind(term.value)}"


def _run_attribute(term: Term, sql: Sql) -> str:
    if term.key != "status":
        return attribute_condition(term, sql, RUN_COLUMNS[term.key])
    statuses = term.value if isinstance(term.value, tuple) else (term.value,)
    wanted: list[str] = []
    for status in statuses:
        if not isinstance(status, str) or status.upper() not in STATES:
            raise Invalid(f"no status '{str(status)[:30]}'; statuses: {', '.join(STATES)}")
        wanted += STATES[status.upper()]
    if term.how not in ("=", "!=", "IN", "NOT IN"):
        raise Invalid("status can only be compared with = != IN")
    states = ", ".join(sql.bind(each) for each in wanted) or "''"
    return f"run.status {'NOT IN' if term.how in ('!=', 'NOT IN') else 'IN'} ({states})"


_RUN_TERMS: dict[str, Callable[[Term, Sql], str]] = {
    "metrics": _metric,
    "params": lambda term, sql: text_entry(term, sql, "json_each(run.config, '$.options')"),
    "tags": lambda term, sql: text_entry(term, sql, "json_each(logged.tags)"),
    "attributes": _run_attribute,
}


def order_of_runs(order_by: list[str], sql: Sql) -> str:
    """Return the requested SQL order of runs; runs without a value come last."""
    orders = []
    for entry in order_by:
        kind, key, direction = order_entry(entry, RUN_COLUMNS)
        value = _order_value(kind, key, sql)
        orders.append(f"{value} IS NULL, {value} {direction}")
    return ", ".join([*orders, "run.started_at DESC", "run.number DESC"])


def order_entry(entry: str, columns: Mapping[str, Column]) -> tuple[str, str, str]:
    """Return kind, key and direction of an order such as "metrics.acc DESC"."""
    match = re.fullmatch(r"\s*(.+?)(?:\s+(asc|desc))?\s*", entry, re.IGNORECASE | re.DOTALL)
    reader = _Reader(match[1] if match else entry, columns)
    kind, key = reader.key()
    if reader.at < len(reader.tokens):
        raise Invalid(f"'{entry[:60]}' is not a valid order; example: metrics.acc DESC")
    return kind, key, "DESC" if match and (match[2] or "").lower() == "desc" else "ASC"


def _order_value(kind: str, key: str, sql: Sql) -> str:
    if kind == "attributes":
        return f"({RUN_COLUMNS[key].expression})"
    name = sql.bind(key)
    if kind == "metrics":
        return f"(SELECT s.last FROM metric_series s WHERE s.run = run.id AND s.name = {name})"
    source = "json_each(run.config, '$.options')" if kind == "params" else "json_each(logged.tags)"
    return f"(SELECT t.value FROM {source} t WHERE t.key = {name})"


def order_of_experiments(order_by: list[str]) -> str:
    """Return the requested SQL order of experiments."""
    orders = []
    for entry in order_by:
        name, _, direction = entry.strip().partition(" ")
        name = name.removeprefix("attributes.").removeprefix("attribute.")
        if name not in EXPERIMENT_COLUMNS or direction.strip().lower() not in ("", "asc", "desc"):
            raise Invalid(f"'{entry[:60]}' is not a valid order; attributes: {', '.join(EXPERIMENT_COLUMNS)}")
        expression = "id" if name == "experiment_id" else EXPERIMENT_COLUMNS[name].expression
        orders.append(f"{expression} {direction.strip().upper() or 'ASC'}")
    return ", ".join([*orders, "updated_at DESC", "id DESC"])
