"""/runs: every run in one table, to be filtered, sorted, selected, compared, stopped and deleted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import Connection

from app.actions import delete, restore
from app.bulk import cancel_many, restore_many
from app.deps import PartsDep
from app.drawing import spark
from app.errors import Conflict
from app.facts import Facts, facts_with_places, metric_name
from app.rendering import wants_fragment
from app.routes.going_back import go_back
from app.routes.runs.columns import STANDARD, columns_of, offered
from app.store import run as run_store
from app.store.database import reading
from app.store.many import Which, restorable
from app.store.metric import Summary, read_one_of_each
from app.store.order import QueryError
from app.store.query import RunFilter, RunPage, RunRow, count_runs, distinct_values, list_runs, runs_by_id
from app.store.worker import WorkerRecord, list_workers

pages = APIRouter()

PAGE_ROWS = 50
SPARK_POINTS = 60
TRASH_IDS = 200


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
    sort: str
    after: str | None

    def address(self, **changes: Any) -> str:
        """The address of this table with some of it changed; a page deeper in only survives a change of nothing."""
        said = {**self.__dict__, **changes}
        if changes and "after" not in changes:
            said["after"] = None
        said["sort"] = None if said["sort"] == "-number" else said["sort"]
        query = urlencode([(name, value) for name, value in said.items() if value], doseq=True)
        return f"/runs?{query}" if query else "/runs"

    @property
    def filtered(self) -> bool:
        """Whether anything is left out."""
        return bool(self.q or self.status or self.family or self.size or self.dataset or self.tag)


def listing(
    q: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[list[str], Query()] = [],
    family: Annotated[list[str], Query()] = [],
    size: Annotated[list[str], Query()] = [],
    dataset: Annotated[list[str], Query()] = [],
    tag: Annotated[list[str], Query()] = [],
    columns: Annotated[str, Query(max_length=1000)] = "",
    column: Annotated[list[str], Query(max_length=60)] = [],
    sort: Annotated[str, Query(max_length=100)] = "-number",
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
        sort=sort or "-number",
        after=after or None,
    )


def _said(values: list[str]) -> list[str]:
    return [value for value in values if value]


def _chosen(columns: str, ticked: list[str]) -> str:
    """The columns by comma, in the address's words or as the form of boxes says them; "" for the usual ones."""
    keys = [part.strip() for value in (ticked or [columns]) for part in value.split(",") if part.strip()]
    said = ",".join(dict.fromkeys(keys))
    return "" if said == ",".join(STANDARD) else said


ListingDep = Annotated[Listing, Depends(listing)]


@pages.get("/runs")
def runs_page(
    request: Request,
    parts: PartsDep,
    shown: ListingDep,
    deleted: Annotated[str, Query(max_length=4000)] = "",
    restored: Annotated[int, Query(ge=0)] = 0,
    stopped: Annotated[int, Query(ge=0)] = 0,
    kept: Annotated[int, Query(ge=0)] = 0,
    undo: Annotated[float, Query(allow_inf_nan=False)] = 0.0,
    back_again: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """The run table; htmx gets only the table."""
    where = RunFilter(shown.status, shown.family, shown.size, shown.dataset, shown.tag, shown.q)
    wrong = ""
    with reading(parts.engine) as connection:
        try:
            page = list_runs(connection, where, shown.sort, PAGE_ROWS, shown.after, time.time())
        except QueryError as error:
            # Half a question is what someone who types has asked; the table says what is missing.
            if error.field != "q":
                raise
            wrong, page = str(error), RunPage([], None, 0)
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        rows = _table_rows(connection, page.rows, workers)
        everything = count_runs(connection, RunFilter())
        choices = {column: distinct_values(connection, column) for column in ("family", "size", "dataset")}
        undoable = len(restorable(connection, undo)) if undo else 0
    metrics = sorted({name for row in page.rows for name in row.summary})
    values: dict[str, Any] = {
        "shown": shown,
        "offered": offered(metrics, shown.columns),
        "columns": columns_of(shown.columns),
        "wrong": wrong,
        "rows": rows,
        "next": page.next,
        "total": page.total,
        "everything": everything,
        "refresh": _refresh_address(shown, [row.facts for row in rows], page.total),
        "fresh": 0,
    }
    if wants_fragment(request):
        table = parts.templates.fragment(request, "_runs.html", **values)
        table.headers["HX-Push-Url"] = shown.address()
        return table
    values |= {"choices": choices, "statuses": run_store.STATES, "deleted": _ids(deleted.split(","))}
    values |= {"restored": restored, "stopped": stopped, "kept": kept}
    values |= {"undo": undo, "undoable": undoable, "back_again": back_again}
    return parts.templates.page(request, "runs.html", **values)


@pages.get("/runs/rows")
def runs_rows(
    request: Request,
    parts: PartsDep,
    shown: ListingDep,
    ids: Annotated[str, Query(max_length=4000)] = "",
    seen: Annotated[int, Query(ge=0)] = 0,
) -> HTMLResponse:
    """The rows of the runs that lived when they were last shown, to be put in the place of the old ones."""
    where = RunFilter(shown.status, shown.family, shown.size, shown.dataset, shown.tag, shown.q)
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        found = runs_by_id(connection, _ids(ids.split(",")))
        rows = _table_rows(connection, found, workers)
        total = count_runs(connection, where)
    return parts.templates.fragment(
        request,
        "_runs_rows.html",
        rows=rows,
        shown=shown,
        columns=columns_of(shown.columns),
        fresh=max(0, total - seen),
        refresh=_refresh_address(shown, [row.facts for row in rows], seen),
    )


@dataclass(frozen=True)
class TableRow:
    facts: Facts
    spark: str
    summary: dict[str, Summary]


def _table_rows(connection: Connection, rows: list[RunRow], workers: list[WorkerRecord]) -> list[TableRow]:
    names = {row.run.id: metric_name(row.summary, row.run.config, "val", "acc") for row in rows}
    curves = read_one_of_each(connection, {run: name for run, name in names.items() if name}, SPARK_POINTS)
    figures = facts_with_places(connection, rows, workers)
    pairs = zip(figures, rows, strict=True)
    return [TableRow(each, spark(curves.get(each.run.id)), row.summary) for each, row in pairs]


def _refresh_address(shown: Listing, rows: list[Facts], seen: int) -> str:
    live = ",".join(row.run.id for row in rows if row.run.live)
    query = urlencode({"ids": live, "seen": seen})
    address = shown.address().replace("/runs", "/runs/rows", 1)
    return f"{address}{'&' if '?' in address else '?'}{query}"


def _ids(values: list[str]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values if value.strip()))[:TRASH_IDS]


RunsForm = Annotated[list[str], Form(max_length=TRASH_IDS)]
BackForm = Annotated[str, Form(max_length=4000)]


@pages.post("/runs/stop")
def stop_runs(parts: PartsDep, runs: RunsForm = [], back: BackForm = "/runs") -> RedirectResponse:
    """Stop the chosen runs; those that have ended stay as they are."""
    done = cancel_many(parts, Which(_ids(runs)))
    return go_back(back, "/runs", undo=repr(done.at) if done.cancelled else "", stopped=len(done.stopping))


@pages.post("/runs/restore-queued")
def restore_queued(
    parts: PartsDep, undo: Annotated[float, Form(allow_inf_nan=False)], back: BackForm = "/runs"
) -> RedirectResponse:
    """Undo a stop: what had not started waits again, in its old place of the queue."""
    with reading(parts.engine) as connection:
        runs = restorable(connection, undo)
    made = restore_many(parts, runs) if runs else []
    return go_back(back, "/runs", back_again=len(made))


@pages.post("/runs/delete")
def delete_runs(parts: PartsDep, runs: RunsForm = [], back: BackForm = "/runs") -> RedirectResponse:
    """Put the chosen runs into the trash; those that have not ended are kept."""
    deleted, kept = [], 0
    for run_id in _ids(runs):
        try:
            delete(parts, run_id)
            deleted.append(run_id)
        except Conflict:
            kept += 1
    return go_back(back, "/runs", deleted=",".join(deleted), kept=kept)


@pages.post("/runs/restore")
def restore_runs(parts: PartsDep, runs: RunsForm = [], back: BackForm = "/runs") -> RedirectResponse:
    """Undo a deletion."""
    restored = 0
    for run_id in _ids(runs):
        restore(parts, run_id)
        restored += 1
    return go_back(back, "/runs", restored=restored)


@pages.post("/runs/{run_id}/cancel")
def stop_run(run_id: str, parts: PartsDep, back: BackForm = "") -> RedirectResponse:
    """Stop one run; where it had not started, the page that it leads back to offers to undo that."""
    done = cancel_many(parts, Which([run_id]))
    return go_back(back, f"/runs/{run_id}", undo=repr(done.at) if done.cancelled and back else "")


@pages.post("/runs/{run_id}/delete")
def delete_one(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Put one run into the trash."""
    delete(parts, run_id)
    return go_back("/runs", "/runs", deleted=run_id)
