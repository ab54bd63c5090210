"""/leaderboard: the best test accuracy of every architecture and size on every dataset, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.analysis.leaderboard import LeaderboardEntry, read_leaderboard
from app.analysis.reference import Reference, references
from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.store.database import reading
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.sort_column import Column

api = APIRouter(tags=["compare"])
pages = APIRouter()

COMPARED = 32

Entries = Mapping[tuple[str, str, str], LeaderboardEntry]
"""Results by family, size and dataset."""


class LeaderOut(BaseModel):
    """Mean test accuracy (0 to 1) over the ``runs`` of the best of ``configurations``. ``half``: half the width of its
    95% interval."""

    family: str
    size: str
    dataset: str
    mean: float
    half: float | None
    n: int
    recipe: str
    epochs: int
    configurations: int
    runs: list[str]


class LeaderboardOut(BaseModel):
    """Results of your own runs, best first within each dataset, and the combinations without a result.

    ``references``: what the Runyard project measured, best first within each dataset.
    """

    leaders: list[LeaderOut]
    missing: list[dict[str, str]]
    references: list[Reference]


@api.get("/leaderboard")
def get_leaderboard(parts: PartsDep, catalog: CatalogDep) -> LeaderboardOut:
    """Get the best result of every family and size on every dataset."""
    with reading(parts.engine) as connection:
        entries = read_leaderboard(connection)
    ordered = sorted(entries.items(), key=lambda item: (item[0][2], -item[1].mean.mean))
    combinations = [
        (family.name, size.name, dataset)
        for family in catalog.families.values()
        for size in family.sizes
        for dataset in DATASETS
    ]
    return LeaderboardOut(
        leaders=[
            LeaderOut(
                family=family,
                size=size,
                dataset=dataset,
                mean=entry.mean.mean,
                half=entry.mean.half,
                n=entry.mean.n,
                recipe=entry.recipe,
                epochs=entry.epochs,
                configurations=entry.configurations,
                runs=entry.runs,
            )
            for (family, size, dataset), entry in ordered
        ],
        missing=[
            {"family": family, "size": size, "dataset": dataset}
            for family, size, dataset in combinations
            if (family, size, dataset) not in entries
        ],
        references=sorted(references().values(), key=lambda each: (each.dataset, -each.mean)),
    )


@dataclass(frozen=True)
class LeaderCell:
    """A result, or the address of the launch form if there is none. ``best``: the best of its column.

    ``note``: how the result was trained, or what the form launches. ``reference``: what the Runyard project measured.
    """

    text: str
    n: int
    note: str
    href: str
    best: bool = False
    configurations: int = 1
    reference: Reference | None = None


@dataclass(frozen=True)
class LeaderRow:
    """An architecture and size. ``gone``: it is no longer in the catalog."""

    family: str
    size: str
    params: int | None
    cells: list[LeaderCell]
    gone: bool


@pages.get("/leaderboard")
async def leaderboard(
    request: Request,
    parts: PartsDep,
    catalog: CatalogDep,
    sort: Annotated[str, Query(max_length=60)] = "",
    dataset: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Render the leaderboard, sorted by the column that the address names, else by the dataset with most results."""
    sort = sort or (f"-{dataset}" if dataset in DATASETS else "")
    return await run_in_threadpool(_page, request, parts, catalog, sort)


def _page(request: Request, parts: Parts, catalog: Catalog, sort: str) -> HTMLResponse:
    with reading(parts.engine) as connection:
        entries = read_leaderboard(connection)
    columns = [
        Column("architecture", "architecture"),
        Column("params", "parameters", "n wide-only"),
        *(Column(name, name, "n", "-") for name in DATASETS),
    ]
    if sort.removeprefix("-") not in {column.key for column in columns}:
        sort = f"-{_most_results(entries)}"
    in_catalog = [(family.name, size.name) for family in catalog.families.values() for size in family.sizes]
    variants = in_catalog + sorted({(family, size) for family, size, _ in entries} - set(in_catalog))
    best = {
        name: max((entry.mean.mean for cell, entry in entries.items() if cell[2] == name), default=None)
        for name in DATASETS
    }
    rows = [_row(catalog, *variant, entries, best, (*variant,) not in in_catalog) for variant in variants]
    values: dict[str, Any] = {
        "rows": _sorted(rows, sort, entries),
        "columns": columns,
        "sort": sort,
        "missing": sum(not cell.text for row in rows for cell in row.cells),
        "filled": len(entries),
    }
    return parts.templates.page(request, "leaderboard.html", **values)


def _most_results(entries: Entries) -> str:
    """Return the dataset with most results; without any, the one with most references."""
    own = Counter(dataset for _, _, dataset in entries)
    measured = Counter(dataset for _, _, dataset in references())
    return max(DATASETS, key=lambda name: (own[name], measured[name]))


def _sorted(rows: list[LeaderRow], sort: str, entries: Entries) -> list[LeaderRow]:
    """Return the rows by a column; on a dataset, rows with a reference alone come after those with a result."""
    key, descending = sort.removeprefix("-"), sort.startswith("-")
    if key == "architecture":
        return rows[::-1] if descending else rows
    sign = -1 if descending else 1

    def place(row: LeaderRow) -> tuple[int, float]:
        if key == "params":
            return row.params is None, sign * (row.params or 0)
        cell = row.family, row.size, key
        if entry := entries.get(cell):
            return 0, sign * entry.mean.mean
        if reference := references().get(cell):
            return 1, sign * reference.mean
        return 2, 0

    return sorted(rows, key=place)


def _row(
    catalog: Catalog, family: str, size: str, entries: Entries, best: dict[str, float | None], gone: bool
) -> LeaderRow:
    family_entry = catalog.families.get(family)
    catalog_size = family_entry.size(size) if family_entry else None
    params = catalog_size.params.get("mnist") if catalog_size else None
    cells = [_cell(family, size, name, entries.get((family, size, name)), best[name]) for name in DATASETS]
    return LeaderRow(family, size, params, cells, gone)


def _cell(family: str, size: str, dataset: str, entry: LeaderboardEntry | None, best: float | None) -> LeaderCell:
    reference = references().get((family, size, dataset))
    if entry is None:
        training = reference.training if reference else {}
        parameters = urlencode({"family": family, "size": size, "dataset": dataset, **training, "seeds": 3})
        note = f"{family} {size} on {dataset}" + (f" with recipe {training['recipe']}" if training else "")
        return LeaderCell("", 0, note, f"/launch?{parameters}", reference=reference)
    mean = entry.mean
    text = f"{100 * mean.mean:.2f}"
    if mean.half is not None:
        text += f" ± {100 * mean.half:.2f}"
    note = f"{entry.recipe}, {entry.epochs} epoch{'s' if entry.epochs != 1 else ''}"
    href = f"/compare?runs={','.join(entry.runs[:COMPARED])}" if mean.n > 1 else f"/runs/{entry.runs[0]}"
    return LeaderCell(f"{text}%", mean.n, note, href, mean.mean == best, entry.configurations, reference)
