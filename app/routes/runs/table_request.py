"""The query of the run table (search, filters, columns, sort, groups) parsed from its address, and its chips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import Depends, Query

from app.contract.errors import QueryError
from app.routes.runs.columns import STANDARD, title_of
from app.store.search.parser import parse
from app.store.search.query import RunFilter
from app.store.search.sorting import keys_of
from app.web.rendering import local_path

DEFAULT_SORT = "-number"
FILTERS = ("status", "family", "size", "dataset", "tag")


@dataclass(frozen=True)
class TableQuery:
    """What the run table shows, parsed from its address."""

    q: str
    status: list[str]
    family: list[str]
    size: list[str]
    dataset: list[str]
    tag: list[str]
    columns: str
    group: str
    sort: str
    after: str | None

    def address(self, **changes: Any) -> str:
        """Return the address of the table with some changes; any change returns to the first page."""
        query_string = self.query_string(**changes)
        return f"/runs?{query_string}" if query_string else "/runs"

    def query_string(self, **changes: Any) -> str:
        """Return the part of that address after the ``?``."""
        fields = {**self.__dict__, **changes}
        if changes and "after" not in changes:
            fields["after"] = None
        if "group" in changes and "sort" not in changes:
            fields["sort"] = None
        fields["sort"] = None if fields["sort"] == DEFAULT_SORT else fields["sort"]
        return urlencode([(name, value) for name, value in fields.items() if value], doseq=True)

    @property
    def filtered(self) -> bool:
        """Whether any filter is active."""
        return bool(self.q or self.status or self.family or self.size or self.dataset or self.tag)

    @property
    def where(self) -> RunFilter:
        """The filter of the runs that it shows."""
        return RunFilter(self.status, self.family, self.size, self.dataset, self.tag, self.q)

    @property
    def hidden_fields(self) -> list[tuple[str, str]]:
        """Name and value pairs that a form needs as hidden fields to keep this query."""
        return [(name, value) for name, values in parse_qs(self.query_string(after=None)).items() for value in values]


def table_query(
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    columns: Annotated[str, Query(max_length=1000)] = "",
    column: Annotated[list[str], Query(max_length=80)] = [],
    group: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=200)] = DEFAULT_SORT,
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> TableQuery:
    """Parse the query parameters; empty fields of the filter form are ignored."""
    return TableQuery(
        q=q.strip(),
        status=_non_empty(status),
        family=_non_empty(family),
        size=_non_empty(size),
        dataset=_non_empty(dataset),
        tag=_non_empty(tag),
        columns=_join_columns(columns, column),
        group=",".join(dict.fromkeys(part.strip() for part in group.split(",") if part.strip())),
        sort=",".join(keys_of(sort)) or DEFAULT_SORT,
        after=after or None,
    )


def parse_query(query_string: str) -> TableQuery:
    """Parse the part of a table address after the ``?``."""
    fields = parse_qs(query_string[:8000])
    lists = {name: fields.get(name, []) for name in FILTERS}
    texts = {name: fields[name][0] for name in ("q", "columns", "group", "sort") if name in fields}
    return table_query(**lists, **texts, column=[], after=None)  # type: ignore[arg-type]


def query_from_address(address: str) -> TableQuery:
    """Parse an address of the run table on this server, including its page."""
    query_string = urlsplit(local_path(address, "/runs")).query
    return replace(parse_query(query_string), after=parse_qs(query_string).get("after", [None])[0])


def _non_empty(values: list[str]) -> list[str]:
    return [value for value in values if value]


def _join_columns(columns: str, checked: list[str]) -> str:
    """Return comma-separated columns, from the address or from the checkboxes; "" for the default ones."""
    keys = [part.strip() for value in (checked or [columns]) for part in value.split(",") if part.strip()]
    joined = ",".join(dict.fromkeys(keys))
    return "" if joined == ",".join(STANDARD) else joined


TableQueryDep = Annotated[TableQuery, Depends(table_query)]


@dataclass(frozen=True)
class Chip:
    """A part of the query and the address without it; ``kind`` is question, filter, groups or order."""

    kind: str
    label: str
    href: str


def chips(query: TableQuery) -> list[Chip]:
    """Return a chip for each search term, filter, grouping, and key of a sort by several columns."""
    result = [Chip("question", label, query.address(q=rest)) for label, rest in _search_terms(query.q)]
    for name in FILTERS:
        chosen: list[str] = getattr(query, name)
        for value in chosen:
            rest = [item for item in chosen if item != value]
            result.append(Chip("filter", f"{name}: {value}", query.address(**{name: rest})))
    if query.group:
        result.append(
            Chip(
                "groups",
                f"group: {', '.join(title_of(name) for name in query.group.split(','))}",
                query.address(group=""),
            )
        )
    keys = keys_of(query.sort)
    if len(keys) > 1:
        for i, key in enumerate(keys):
            rest = keys[:i] + keys[i + 1 :]
            label = f"{'then' if i else 'sort'}: {title_of(key.lstrip('-'))} {'↓' if key.startswith('-') else '↑'}"
            result.append(Chip("order", label, query.address(sort=",".join(rest))))
    return result


def _search_terms(q: str) -> list[tuple[str, str]]:
    """Return each search term with the search without it; alternatives (or) stay together as one term."""
    try:
        choices = parse(q).choices
    except QueryError:
        choices = ()
    terms = [part.source for part in choices[0]] if len(choices) == 1 else [q]
    return [(term, " ".join(terms[:i] + terms[i + 1 :])) for i, term in enumerate(terms)]
