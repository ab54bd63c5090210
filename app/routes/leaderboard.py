"""/leaderboard: the best test accuracy of every architecture and size on every dataset, and what is missing."""

from __future__ import annotations

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

    ``reference``: what the Runyard project measured.
    """

    text: str
    n: int
    title: str
    href: str
    best: bool = False
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
    """Render the leaderboard, sorted by a column if the address names one."""
    sort = sort or (f"-{dataset}" if dataset in DATASETS else "")
    return await run_in_threadpool(_page, request, parts, catalog, sort)


def _page(request: Request, parts: Parts, catalog: Catalog, sort: str) -> HTMLResponse:
    with reading(parts.engine) as connection:
        entries = read_leaderboard(connection)
    in_catalog = [(family.name, size.name) for family in catalog.families.values() for size in family.sizes]
    variants = in_catalog + sorted({(family, size) for family, size, _ in entries} - set(in_catalog))
    best = {
        name: max((entry.mean.mean for cell, entry in entries.items() if cell[2] == name), default=None)
        for name in DATASETS
    }
    rows = [_row(catalog, *variant, entries, best, (*variant,) not in in_catalog) for variant in variants]
    key, descending = sort.lstrip("-"), sort.startswith("-")
    if key in DATASETS:
        with_result = [row for row in rows if (row.family, row.size, key) in entries]
        with_result.sort(key=lambda row: entries[row.family, row.size, key].mean.mean, reverse=descending)
        rows = with_result + [row for row in rows if (row.family, row.size, key) not in entries]
    elif key == "params":
        rows.sort(key=lambda row: row.params or 0, reverse=descending)
    columns = [Column("params", "parameters", "n"), *(Column(name, name, "n", "-") for name in DATASETS)]
    missing = sum(not cell.text for row in rows for cell in row.cells)
    values: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "sort": sort,
        "missing": missing,
        "filled": len(entries),
    }
    return parts.templates.page(request, "leaderboard.html", **values)


def _row(
    catalog: Catalog,
    family: str,
    size: str,
    entries: dict[tuple[str, str, str], LeaderboardEntry],
    best: dict[str, float | None],
    gone: bool,
) -> LeaderRow:
    family_entry = catalog.families.get(family)
    catalog_size = family_entry.size(size) if family_entry else None
    params = catalog_size.params.get("mnist") if catalog_size else None
    cells = [_cell(family, size, name, entries.get((family, size, name)), best[name]) for name in DATASETS]
    return LeaderRow(family, size, params, cells, gone)


def _cell(family: str, size: str, dataset: str, entry: LeaderboardEntry | None, best: float | None) -> LeaderCell:
    reference = references().get((family, size, dataset))
    if entry is None:
        parameters = urlencode({"family": family, "size": size, "dataset": dataset, "seeds": 3})
        title, href = f"launch {family} {size} on {dataset}", f"/launch?{parameters}"
        return LeaderCell("", 0, title, href, reference=reference)
    mean = entry.mean
    text = f"{100 * mean.mean:.2f}"
    if mean.half is not None:
        text += f" ± {100 * mean.half:.2f}"
    title = f"recipe {entry.recipe}, {entry.epochs} epochs"
    if entry.configurations > 1:
        title += f" (best of {entry.configurations} configurations)"
    href = f"/compare?runs={','.join(entry.runs[:COMPARED])}" if mean.n > 1 else f"/runs/{entry.runs[0]}"
    return LeaderCell(f"{text}%", mean.n, title, href, mean.mean == best, reference)
