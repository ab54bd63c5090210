"""/runs: every run in one table, to be filtered, sorted, grouped and selected; its rows come anew while they change."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection, text

from app.charts.drawing import spark
from app.contract.errors import NotFound, QueryError
from app.routes.launch.form import joined_tags
from app.routes.runs.columns import columns_of, offered
from app.routes.runs.groups import FIELDS, MOST_RUNS, read_groups
from app.routes.runs.table_request import USUAL_SORT, Listing, ListingDep, chips
from app.store import run as run_store
from app.store.bulk import restorable
from app.store.database import reading
from app.store.metric import Summary, read_one_of_each
from app.store.search.query import (
    RunFilter,
    RunPage,
    RunRow,
    changed_since,
    count_runs,
    distinct_values,
    list_runs,
    runs_by_id,
)
from app.store.undo import find_act
from app.store.view import list_views
from app.store.worker import WorkerRecord, list_workers
from app.web.dependencies import Parts, PartsDep
from app.web.numbers import Count, Timestamp
from app.web.rendering import wants_fragment
from app.web.run_summary import RunSummary, metric_name, summaries_with_positions

pages = APIRouter()

PAGE_ROWS = 50
SPARK_POINTS = 60
# So many rows are put in above the others at once, and so many are looked after by the page.
FRESH_ROWS = 20
WATCHED = 200


@pages.get("/runs")
def runs_page(
    request: Request,
    parts: PartsDep,
    shown: ListingDep,
    stopped: Count = 0,
    kept: Count = 0,
    undo: Timestamp = 0.0,
    back_again: Count = 0,
    refused: Count = 0,
    act: Annotated[str, Query(max_length=60)] = "",
    undone: Annotated[str, Query(max_length=60)] = "",
    edit: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """The run table; htmx gets only the table."""
    return show_table(request, parts, shown, Told(stopped, kept, undo, back_again, refused, act, undone, edit))


@dataclass(frozen=True)
class Told:
    """What an address says of the last act beside the table that it asks for, and the run whose words are edited."""

    stopped: int = 0
    kept: int = 0
    undo: float = 0.0
    back_again: int = 0
    refused: int = 0
    act: str = ""
    undone: str = ""
    edit: str = ""


@dataclass(frozen=True)
class Refusal:
    """Why tags were not given, what was typed, and which runs were chosen, as their boxes hold them."""

    words: str
    tagged: str
    runs: frozenset[str]
    every: str


def show_table(
    request: Request, parts: Parts, shown: Listing, told: Told = Told(), refusal: Refusal | None = None
) -> HTMLResponse:
    """A table as a page, with what was refused of it where that was typed; htmx gets only the table."""
    with reading(parts.engine) as connection:
        values = _grouped(connection, shown) if shown.group else _listed(connection, parts, shown)
        everything = count_runs(connection, RunFilter())
        choices = {column: distinct_values(connection, column) for column in ("family", "size", "dataset")}
        undoable = len(restorable(connection, told.undo)) if told.undo else 0
        acts = {"act": find_act(connection, told.act) if told.act else None}
        acts["undone"] = find_act(connection, told.undone) if told.undone else None
        metrics = values.pop("metrics")
        if not metrics:
            metrics = [name for name in distinct_values(connection, "metric") if not name.startswith("system/")]
        views = list_views(connection)
    values |= {
        "shown": shown,
        "chips": chips(shown),
        "everything": everything,
        "edit": told.edit,
        "refusal": refusal,
        "joined_tags": joined_tags,
    }
    if wants_fragment(request):
        table = parts.templates.fragment(request, "_runs_answer.html", **values)
        if urlsplit(request.headers.get("hx-current-url", "")).query != shown.question():
            table.headers["HX-Push-Url"] = shown.address()
        return table
    values |= {"choices": choices, "statuses": run_store.STATES, "offered": offered(metrics, shown.columns)}
    values |= {"stopped": told.stopped, "kept": told.kept, "undo": told.undo, "undoable": undoable}
    values |= acts | {"back_again": told.back_again, "refused": told.refused, "views": views, "groupings": FIELDS}
    values |= {"parquet": importlib.util.find_spec("pyarrow") is not None}
    values |= {"view": next((view for view in views if view.question == shown.question(after=None)), None)}
    return parts.templates.page(request, "runs.html", 422 if refusal else 200, **values)


def _listed(connection: Connection, parts: Parts, shown: Listing) -> dict[str, Any]:
    commit = newest_commit(connection)
    wrong = ""
    try:
        page = list_runs(connection, shown.where, shown.sort, PAGE_ROWS, shown.after, time.time())
    except QueryError as error:
        # Half a question is what someone who types has asked; the table says what is missing.
        if error.field != "q":
            raise
        wrong, page = str(error), RunPage([], None, 0)
    rows = table_rows(connection, parts, page.rows)
    top = max((row.facts.number for row in rows), default=0) if shown.sort == USUAL_SORT and not shown.after else -1
    return {
        "groups": None,
        "columns": columns_of(shown.columns),
        "wrong": wrong,
        "rows": rows,
        "next": page.next,
        "total": page.total,
        "metrics": sorted({name for row in page.rows for name in row.summary}),
        "refresh": _refresh(shown, [row.facts.run.id for row in rows], page.total, commit, top),
        "fresh": 0,
    }


def _grouped(connection: Connection, shown: Listing) -> dict[str, Any]:
    wrong, groups = "", None
    try:
        groups = read_groups(connection, shown)
    except QueryError as error:
        wrong = str(error)
    return {"groups": groups, "wrong": wrong, "total": groups.runs if groups else 0, "most": MOST_RUNS, "metrics": []}


def newest_commit(connection: Connection) -> int:
    """The number of the newest commit that this view of the database has."""
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


@pages.get("/runs/rows")
def runs_rows(
    request: Request,
    parts: PartsDep,
    shown: ListingDep,
    ids: Annotated[str, Query(max_length=8000)] = "",
    seen: Count = 0,
    since: Count = 0,
    top: Annotated[int, Query(ge=-1)] = -1,
) -> HTMLResponse:
    """The rows that changed since they were last shown, to be put in the place of the old ones, and new ones above.

    ``top`` is the newest run of a page on which every newer one that matches belongs; -1 of any other page.
    """
    watched = list(dict.fromkeys(part for part in ids.split(",") if part))[:WATCHED]
    with reading(parts.engine) as connection:
        commit = newest_commit(connection)
        changed = runs_by_id(connection, changed_since(connection, watched, since))
        total = count_runs(connection, shown.where)
        fresh: list[RunRow] = []
        if top >= 0 and total > seen:
            newest = list_runs(connection, shown.where, USUAL_SORT, FRESH_ROWS, None, time.time()).rows
            fresh = [row for row in newest if row.run.number > top]
            if len(fresh) == FRESH_ROWS:
                # There may be more than these: the page is to be made anew.
                fresh = []
        rows = table_rows(connection, parts, [*fresh, *changed])
    if fresh:
        seen, top = total, fresh[0].run.number
    watched = [*(row.run.id for row in fresh), *watched][:WATCHED]
    return parts.templates.fragment(
        request,
        "_runs_rows.html",
        rows=rows[len(fresh) :],
        above=rows[: len(fresh)],
        shown=shown,
        edit="",
        refusal=None,
        columns=columns_of(shown.columns),
        fresh=max(0, total - seen),
        refresh=_refresh(shown, watched, seen, commit, top),
    )


@pages.get("/runs/{run_id}/words")
def run_words(run_id: str, request: Request, parts: PartsDep, shown: ListingDep) -> HTMLResponse:
    """The row in which name, tags and notes of a run are edited."""
    with reading(parts.engine) as connection:
        rows = table_rows(connection, parts, runs_by_id(connection, [run_id]))
    if not rows:
        raise NotFound(f"no run '{run_id[:40]}'")
    values = {"facts": rows[0].facts, "columns": columns_of(shown.columns), "shown": shown, "joined_tags": joined_tags}
    return parts.templates.fragment(request, "_runs_words.html", **values)


@dataclass(frozen=True)
class TableRow:
    """A run in the table, with what its cells are made of."""

    facts: RunSummary
    spark: str
    summary: dict[str, Summary]


def table_rows(connection: Connection, parts: Parts, rows: list[RunRow]) -> list[TableRow]:
    """Runs as the table shows them."""
    workers: list[WorkerRecord] = list_workers(connection, time.time(), parts.settings.lease_seconds)
    names = {row.run.id: metric_name(row.summary, row.run.config, "val", "acc") for row in rows}
    curves = read_one_of_each(connection, {run: name for run, name in names.items() if name}, SPARK_POINTS)
    figures = summaries_with_positions(connection, rows, workers)
    pairs = zip(figures, rows, strict=True)
    return [TableRow(each, spark(curves.get(each.run.id)), row.summary) for each, row in pairs]


def _refresh(shown: Listing, watched: list[str], seen: int, commit: int, top: int) -> str:
    query = urlencode({"ids": ",".join(watched), "seen": seen, "since": commit, "top": top}, safe=",")
    address = shown.address().replace("/runs", "/runs/rows", 1)
    return f"{address}{'&' if '?' in address else '?'}{query}"
