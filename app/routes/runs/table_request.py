"""What an address says of the run table: the question, the filters, columns, order, groups; and its terms as chips."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import Depends, Query

from app.contract.errors import QueryError
from app.routes.runs.columns import STANDARD
from app.store.search.parser import read
from app.store.search.query import RunFilter
from app.store.search.sorting import keys_of
from app.web.rendering import local_path

USUAL_SORT = "-number"
FILTERS = ("status", "family", "size", "dataset", "tag")


@dataclass(frozen=True)
class Listing:
    """What the run table shows, as its address says it."""

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
        """The address of this table with some of it changed; a page deeper in only survives a change of nothing."""
        question = self.question(**changes)
        return f"/runs?{question}" if question else "/runs"

    def question(self, **changes: Any) -> str:
        """The same behind its ``?``."""
        said = {**self.__dict__, **changes}
        if changes and "after" not in changes:
            said["after"] = None
        if "group" in changes and "sort" not in changes:
            said["sort"] = None
        said["sort"] = None if said["sort"] == USUAL_SORT else said["sort"]
        return urlencode([(name, value) for name, value in said.items() if value], doseq=True)

    @property
    def filtered(self) -> bool:
        """Whether anything is left out."""
        return bool(self.q or self.status or self.family or self.size or self.dataset or self.tag)

    @property
    def where(self) -> RunFilter:
        """Which runs it shows."""
        return RunFilter(self.status, self.family, self.size, self.dataset, self.tag, self.q)

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What a form that changes nothing of it holds, as pairs of name and value."""
        return [(name, value) for name, values in parse_qs(self.question(after=None)).items() for value in values]


def listing(
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    columns: Annotated[str, Query(max_length=1000)] = "",
    column: Annotated[list[str], Query(max_length=80)] = [],
    group: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[str, Query(max_length=200)] = USUAL_SORT,
    after: Annotated[str | None, Query(max_length=500)] = None,
) -> Listing:
    """The table that an address asks for; empty fields of the filter's form do not filter."""
    return Listing(
        q=q.strip(),
        status=_said(status),
        family=_said(family),
        size=_said(size),
        dataset=_said(dataset),
        tag=_said(tag),
        columns=_chosen(columns, column),
        group=",".join(dict.fromkeys(part.strip() for part in group.split(",") if part.strip())),
        sort=",".join(keys_of(sort)) or USUAL_SORT,
        after=after or None,
    )


def listing_of(question: str) -> Listing:
    """The table of what stands behind the ``?`` of its address."""
    said = parse_qs(question[:8000])
    lists = {name: said.get(name, []) for name in FILTERS}
    words = {name: said[name][0] for name in ("q", "columns", "group", "sort") if name in said}
    return listing(**lists, **words, column=[], after=None)  # type: ignore[arg-type]


def listing_at(address: str) -> Listing:
    """The table at an address of this server, deeper in too."""
    question = urlsplit(local_path(address, "/runs")).query
    return replace(listing_of(question), after=parse_qs(question).get("after", [None])[0])


def _said(values: list[str]) -> list[str]:
    return [value for value in values if value]


def _chosen(columns: str, ticked: list[str]) -> str:
    """The columns by comma, in the address's words or as the form of boxes says them; "" for the usual ones."""
    keys = [part.strip() for value in (ticked or [columns]) for part in value.split(",") if part.strip()]
    said = ",".join(dict.fromkeys(keys))
    return "" if said == ",".join(STANDARD) else said


ListingDep = Annotated[Listing, Depends(listing)]


@dataclass(frozen=True)
class Chip:
    """A part of what is asked for, and the address without it; ``what`` says of which kind it is."""

    what: str
    words: str
    href: str


def chips(shown: Listing) -> list[Chip]:
    """Every part of the question, every filter, the grouping, and each key of a sort by several columns."""
    found = [Chip("question", words, shown.address(q=rest)) for words, rest in _parts(shown.q)]
    for name in FILTERS:
        chosen: list[str] = getattr(shown, name)
        for value in chosen:
            rest = [each for each in chosen if each != value]
            found.append(Chip("filter", f"{name}: {value}", shown.address(**{name: rest})))
    if shown.group:
        found.append(Chip("groups", f"by {shown.group.replace(',', ', ')}", shown.address(group="")))
    keys = keys_of(shown.sort)
    if len(keys) > 1:
        for i, key in enumerate(keys):
            rest = keys[:i] + keys[i + 1 :]
            words = f"{'then' if i else 'by'} {key.lstrip('-')} {'↓' if key.startswith('-') else '↑'}"
            found.append(Chip("order", words, shown.address(sort=",".join(rest))))
    return found


def _parts(q: str) -> list[tuple[str, str]]:
    """What must all hold, each with the question without it; of choices, none is left out alone."""
    try:
        choices = read(q).choices
    except QueryError:
        choices = ()
    said = [part.said for part in choices[0]] if len(choices) == 1 else [q]
    return [(each, " ".join(said[:i] + said[i + 1 :])) for i, each in enumerate(said)]
