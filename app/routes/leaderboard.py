"""/leaderboard: what every variant has reached on every dataset, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.analysis.leaderboard import Leader, read_leaders
from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.store.database import reading
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.sort_column import Column

api = APIRouter(tags=["compare"])
pages = APIRouter()

COMPARED = 32


class LeaderOut(BaseModel):
    """Test accuracy (0 to 1) over the ``runs`` of the best of ``configurations``; ``half``: of its 95 % interval."""

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
    """What has been reached, the best of each dataset first, and what has not been tried."""

    leaders: list[LeaderOut]
    missing: list[dict[str, str]]


@api.get("/leaderboard")
def get_leaderboard(parts: PartsDep, catalog: CatalogDep) -> LeaderboardOut:
    """Every family and size against every dataset."""
    with reading(parts.engine) as connection:
        found = read_leaders(connection)
    ordered = sorted(found.items(), key=lambda each: (each[0][2], -each[1].mean.mean))
    every = [
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
                mean=each.mean.mean,
                half=each.mean.half,
                n=each.mean.n,
                recipe=each.recipe,
                epochs=each.epochs,
                configurations=each.configurations,
                runs=each.runs,
            )
            for (family, size, dataset), each in ordered
        ],
        missing=[
            {"family": family, "size": size, "dataset": dataset}
            for family, size, dataset in every
            if (family, size, dataset) not in found
        ],
    )


@dataclass(frozen=True)
class LeaderCell:
    """A variant on a dataset: in words, or the address at which it is launched; ``best`` of its column."""

    words: str
    n: int
    title: str
    href: str
    best: bool = False


@dataclass(frozen=True)
class LeaderRow:
    """A variant; ``gone``: the catalog does not have it any more."""

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
    """Every family and size against every dataset; sorted by one of these where the address says so."""
    sort = sort or (f"-{dataset}" if dataset in DATASETS else "")
    return await run_in_threadpool(_page, request, parts, catalog, sort)


def _page(request: Request, parts: Parts, catalog: Catalog, sort: str) -> HTMLResponse:
    with reading(parts.engine) as connection:
        found = read_leaders(connection)
    known = [(family.name, size.name) for family in catalog.families.values() for size in family.sizes]
    variants = known + sorted({(family, size) for family, size, _ in found} - set(known))
    best = {
        name: max((each.mean.mean for place, each in found.items() if place[2] == name), default=None)
        for name in DATASETS
    }
    rows = [_row(catalog, *variant, found, best, (*variant,) not in known) for variant in variants]
    key, down = sort.lstrip("-"), sort.startswith("-")
    if key in DATASETS:
        there = [row for row in rows if (row.family, row.size, key) in found]
        there.sort(key=lambda row: found[row.family, row.size, key].mean.mean, reverse=down)
        rows = there + [row for row in rows if (row.family, row.size, key) not in found]
    elif key == "params":
        rows.sort(key=lambda row: row.params or 0, reverse=down)
    columns = [Column("params", "parameters", "n"), *(Column(name, name, "n", "-") for name in DATASETS)]
    missing = sum(not cell.words for row in rows for cell in row.cells)
    values: dict[str, Any] = {"rows": rows, "columns": columns, "sort": sort, "missing": missing, "filled": len(found)}
    return parts.templates.page(request, "leaderboard.html", **values)


def _row(
    catalog: Catalog,
    family: str,
    size: str,
    found: dict[tuple[str, str, str], Leader],
    best: dict[str, float | None],
    gone: bool,
) -> LeaderRow:
    entry = catalog.families.get(family)
    known = entry.size(size) if entry else None
    params = known.params.get("mnist") if known else None
    cells = [_cell(family, size, name, found.get((family, size, name)), best[name]) for name in DATASETS]
    return LeaderRow(family, size, params, cells, gone)


def _cell(family: str, size: str, dataset: str, leader: Leader | None, best: float | None) -> LeaderCell:
    if leader is None:
        said = urlencode({"family": family, "size": size, "dataset": dataset, "seeds": 3})
        return LeaderCell("", 0, f"launch {family} {size} on {dataset}", f"/launch?{said}")
    mean = leader.mean
    words = f"{100 * mean.mean:.2f}"
    if mean.half is not None:
        words += f" ± {100 * mean.half:.2f}"
    title = f"recipe {leader.recipe}, {leader.epochs} epochs"
    if leader.configurations > 1:
        title += f"; the best of {leader.configurations} configurations"
    href = f"/compare?runs={','.join(leader.runs[:COMPARED])}" if mean.n > 1 else f"/runs/{leader.runs[0]}"
    return LeaderCell(f"{words} %", mean.n, title, href, mean.mean == best)
