"""/runs: the table of all runs with search, sorting, grouping and selection, and its live row updates."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection, text

from app.charts.svg import spark
from app.contract.errors import NotFound, QueryError
from app.routes.launch.form import joined_tags
from app.routes.runs.columns import column_choices, parse_columns, title_of
from app.routes.runs.groups import FIELDS, MOST_RUNS, read_groups
from app.routes.runs.table_request import DEFAULT_SORT, TableQuery, TableQueryDep, chips
from app.store import run as run_store
from app.store.bulk import restorable
from app.store.database import reading
from app.store.metric import Summary, read_one_curve_per_run
from app.store.saved_view import list_views
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
from app.store.turn import QueueRules
from app.store.undo import find_act
from app.store.worker import WorkerRecord, list_workers
from app.web.dependencies import Parts, PartsDep
from app.web.numbers import Count, Timestamp
from app.web.rendering import wants_fragment
from app.web.run_summary import RunSummary, metric_name, summaries_with_positions

pages = APIRouter()

PAGE_ROWS = 50
SPARK_POINTS = 60
# The most rows that are inserted at the top at once, and the most rows that a page refreshes.
FRESH_ROWS = 20
WATCHED = 200


@pages.get("/runs")
def runs_page(
    request: Request,
    parts: PartsDep,
    query: TableQueryDep,
    stopped: Count = 0,
    kept: Count = 0,
    undo: Timestamp = 0.0,
    back_again: Count = 0,
    refused: Count = 0,
    act: Annotated[str, Query(max_length=60)] = "",
    undone: Annotated[str, Query(max_length=60)] = "",
    edit: Annotated[str, Query(max_length=60)] = "",
) -> HTMLResponse:
    """Render the run table; htmx gets only the table."""
    return show_table(request, parts, query, Notices(stopped, kept, undo, back_again, refused, act, undone, edit))


@dataclass(frozen=True)
class Notices:
    """Query parameters about the last action, and the run being edited."""

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
    """Invalid tags: the error, the text entered, and the selected rows."""

    message: str
    tagged: str
    runs: frozenset[str]
    every: str


def show_table(
    request: Request, parts: Parts, query: TableQuery, notices: Notices = Notices(), refusal: Refusal | None = None
) -> HTMLResponse:
    """Render the run table with notices and a tag error, if any; htmx gets only the table."""
    with reading(parts.engine) as connection:
        values = _grouped(connection, query) if query.group else _listed(connection, parts, query)
        total_runs = count_runs(connection, RunFilter())
        choices = {column: distinct_values(connection, column) for column in ("family", "size", "dataset")}
        undoable = len(restorable(connection, notices.undo)) if notices.undo else 0
        actions = {"act": find_act(connection, notices.act) if notices.act else None}
        actions["undone"] = find_act(connection, notices.undone) if notices.undone else None
        metrics = values.pop("metrics")
        if not metrics:
            metrics = [name for name in distinct_values(connection, "metric") if not name.startswith("system/")]
        views = list_views(connection)
    values |= {
        "query": query,
        "chips": chips(query),
        "total_runs": total_runs,
        "edit": notices.edit,
        "refusal": refusal,
        "joined_tags": joined_tags,
    }
    if wants_fragment(request):
        table = parts.templates.fragment(request, "_runs_response.html", **values)
        if urlsplit(request.headers.get("hx-current-url", "")).query != query.query_string():
            table.headers["HX-Push-Url"] = query.address()
        return table
    values |= {
        "choices": choices,
        "statuses": run_store.STATES,
        "column_choices": column_choices(metrics, query.columns),
    }
    values |= {"stopped": notices.stopped, "kept": notices.kept, "undo": notices.undo, "undoable": undoable}
    values |= actions | {
        "back_again": notices.back_again,
        "refused": notices.refused,
        "views": views,
        "groupings": FIELDS,
        "title_of": title_of,
    }
    values |= {"parquet": importlib.util.find_spec("pyarrow") is not None}
    values |= {"view": next((view for view in views if view.question == query.query_string(after=None)), None)}
    return parts.templates.page(request, "runs.html", 422 if refusal else 200, **values)


def _listed(connection: Connection, parts: Parts, query: TableQuery) -> dict[str, Any]:
    commit = newest_commit(connection)
    problem = ""
    try:
        page = list_runs(connection, query.where, query.sort, PAGE_ROWS, query.after, time.time())
    except QueryError as error:
        # A search that is still being typed is incomplete; the table says what is missing.
        if error.field != "q":
            raise
        problem, page = str(error), RunPage([], None, 0)
    rows = table_rows(connection, parts, page.rows)
    top = max((row.summary.number for row in rows), default=0) if query.sort == DEFAULT_SORT and not query.after else -1
    return {
        "groups": None,
        "columns": parse_columns(query.columns),
        "problem": problem,
        "rows": rows,
        "next": page.next,
        "total": page.total,
        "metrics": sorted({name for row in page.rows for name in row.summary}),
        "refresh": _refresh(query, [row.summary.run.id for row in rows], page.total, commit, top),
        "fresh": 0,
    }


def _grouped(connection: Connection, query: TableQuery) -> dict[str, Any]:
    problem, groups = "", None
    try:
        groups = read_groups(connection, query)
    except QueryError as error:
        problem = str(error)
    return {
        "groups": groups,
        "problem": problem,
        "total": groups.runs if groups else 0,
        "most": MOST_RUNS,
        "metrics": [],
    }


def newest_commit(connection: Connection) -> int:
    """Return the number of the newest commit visible in this transaction."""
    return int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())


@pages.get("/runs/rows")
def runs_rows(
    request: Request,
    parts: PartsDep,
    query: TableQueryDep,
    ids: Annotated[str, Query(max_length=8000)] = "",
    seen: Count = 0,
    since: Count = 0,
    top: Annotated[int, Query(ge=-1)] = -1,
) -> HTMLResponse:
    """Render rows that changed since commit ``since``, to replace the old ones, and new rows for the top of the table.

    ``top``: number of the newest run on a page where newer matching runs belong at the top; -1 on any other page.
    """
    watched = list(dict.fromkeys(part for part in ids.split(",") if part))[:WATCHED]
    with reading(parts.engine) as connection:
        commit = newest_commit(connection)
        changed = runs_by_id(connection, changed_since(connection, watched, since))
        total = count_runs(connection, query.where)
        fresh: list[RunRow] = []
        if top >= 0 and total > seen:
            newest = list_runs(connection, query.where, DEFAULT_SORT, FRESH_ROWS, None, time.time()).rows
            fresh = [row for row in newest if row.run.number > top]
            if len(fresh) == FRESH_ROWS:
                # There may be more than these: the page needs a reload.
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
        query=query,
        edit="",
        refusal=None,
        columns=parse_columns(query.columns),
        fresh=max(0, total - seen),
        refresh=_refresh(query, watched, seen, commit, top),
    )


@pages.get("/runs/{run_id}/edit")
def edit_row(run_id: str, request: Request, parts: PartsDep, query: TableQueryDep) -> HTMLResponse:
    """Render the row that edits name, tags and notes of a run."""
    with reading(parts.engine) as connection:
        rows = table_rows(connection, parts, runs_by_id(connection, [run_id]))
    if not rows:
        raise NotFound(f"no run '{run_id[:40]}'")
    values = {
        "summary": rows[0].summary,
        "columns": parse_columns(query.columns),
        "query": query,
        "joined_tags": joined_tags,
    }
    return parts.templates.fragment(request, "_runs_edit_row.html", **values)


@dataclass(frozen=True)
class TableRow:
    """A run in the table, with the data of its cells."""

    summary: RunSummary
    spark: str
    metrics: dict[str, Summary]


def table_rows(connection: Connection, parts: Parts, rows: list[RunRow]) -> list[TableRow]:
    """Return runs with the data of their table cells."""
    workers: list[WorkerRecord] = list_workers(connection, time.time(), parts.settings.lease_seconds)
    names = {row.run.id: metric_name(row.summary, row.run.config, "val", "acc") for row in rows}
    curves = read_one_curve_per_run(connection, {run: name for run, name in names.items() if name}, SPARK_POINTS)
    summaries = summaries_with_positions(connection, rows, workers, QueueRules.of(parts.settings))
    pairs = zip(summaries, rows, strict=True)
    return [TableRow(summary, spark(curves.get(summary.run.id)), row.summary) for summary, row in pairs]


def _refresh(query: TableQuery, watched: list[str], seen: int, commit: int, top: int) -> str:
    parameters = urlencode({"ids": ",".join(watched), "seen": seen, "since": commit, "top": top}, safe=",")
    address = query.address().replace("/runs", "/runs/rows", 1)
    return f"{address}{'&' if '?' in address else '?'}{parameters}"
