"""Bulk actions on runs (stop, delete, tag, relaunch, compare, undo) as forms that work without JavaScript."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import cancel_many
from app.actions.runs import find_run
from app.actions.undo import delete_many, edit_details, relaunch_many, tag_many, undo_act, untag_many
from app.contract.errors import Invalid
from app.contract.spec import FieldError
from app.routes.launch.form import split_tags
from app.routes.runs.table import Refusal, show_table
from app.routes.runs.table_request import parse_query, query_from_address
from app.store.bulk import MAX_TAGS, RunSelection, missing
from app.store.database import reading
from app.store.search.query import matching_ids
from app.web.dependencies import CatalogDep, Parts, PartsDep
from app.web.redirects import go_back
from app.web.run_selection import MOST_RUNS

pages = APIRouter()

MOST_AT_ONCE = 10_000

RunsForm = Annotated[list[str], Form(max_length=MOST_AT_ONCE)]
BackForm = Annotated[str, Form(max_length=8000)]
EveryForm = Annotated[str, Form(max_length=10)]
TagsForm = Annotated[str, Form(max_length=1500)]


def split_ids(values: Sequence[str]) -> list[str]:
    """Split form fields into unique run IDs; each field contains one ID or several, comma-separated."""
    return list(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))


def _selected_ids(parts: Parts, runs: Sequence[str], every: str, matching: str) -> list[str]:
    """Return the selected runs, or all matching ones if ``every`` is set; skips runs that no longer exist."""
    with reading(parts.engine) as connection:
        if every:
            return matching_ids(connection, parse_query(matching).where, MOST_AT_ONCE, time.time())
        ids = split_ids(runs)[:MOST_AT_ONCE]
        while (missing_id := missing(connection, ids)) is not None:
            ids.remove(missing_id)
        return ids


@pages.post("/runs/stop")
def stop_runs(
    parts: PartsDep, runs: RunsForm = [], every: EveryForm = "", matching: BackForm = "", back: BackForm = "/runs"
) -> RedirectResponse:
    """Stop the selected runs; ended ones are left unchanged."""
    result = cancel_many(parts, RunSelection(_selected_ids(parts, runs, every, matching)))
    return go_back(back, "/runs", undo=repr(result.at) if result.cancelled else "", stopped=len(result.stopping))


@pages.post("/runs/delete")
def delete_runs(
    parts: PartsDep, runs: RunsForm = [], every: EveryForm = "", matching: BackForm = "", back: BackForm = "/runs"
) -> RedirectResponse:
    """Move the selected runs to the trash; active ones are not deleted."""
    act, not_deleted = delete_many(parts, _selected_ids(parts, runs, every, matching))
    return go_back(back, "/runs", act=act, kept=not_deleted)


def _tag_error(tags: Sequence[str]) -> str:
    """Return why these tags are not valid for a run, or "" if they are."""
    if not tags:
        return "enter at least one tag"
    if len(tags) > MAX_TAGS:
        return f"a run can have at most {MAX_TAGS} tags"
    long = next((tag for tag in tags if len(tag) > 50), "")
    return f"tag '{long[:20]}…' has {len(long)} characters; the maximum is 50" if long else ""


@pages.post("/runs/tag")
def tag_runs(
    request: Request,
    parts: PartsDep,
    tagged: TagsForm = "",
    runs: RunsForm = [],
    every: EveryForm = "",
    matching: BackForm = "",
    back: BackForm = "/runs",
) -> Response:
    """Add one or more comma-separated tags to the selected runs; invalid tags are reported in the table."""
    tags = list(dict.fromkeys(split_tags(tagged)))
    if problem := _tag_error(tags):
        return show_table(
            request, parts, query_from_address(back), refusal=Refusal(problem, tagged, frozenset(runs), every)
        )
    return go_back(back, "/runs", act=tag_many(parts, _selected_ids(parts, runs, every, matching), tags))


@pages.post("/runs/untag")
def untag_runs(
    request: Request,
    parts: PartsDep,
    tagged: TagsForm = "",
    runs: RunsForm = [],
    every: EveryForm = "",
    matching: BackForm = "",
    back: BackForm = "/runs",
) -> Response:
    """Remove one or more comma-separated tags from the selected runs."""
    tags = list(dict.fromkeys(split_tags(tagged)))
    if problem := _tag_error(tags):
        return show_table(
            request, parts, query_from_address(back), refusal=Refusal(problem, tagged, frozenset(runs), every)
        )
    return go_back(back, "/runs", act=untag_many(parts, _selected_ids(parts, runs, every, matching), tags))


@pages.post("/runs/relaunch")
async def relaunch_runs(
    parts: PartsDep,
    catalog: CatalogDep,
    runs: RunsForm = [],
    every: EveryForm = "",
    matching: BackForm = "",
    back: BackForm = "/runs",
) -> RedirectResponse:
    """Relaunch the selected runs with unchanged settings."""
    selected = await run_in_threadpool(_selected_ids, parts, runs, every, matching)
    act, refused = await relaunch_many(parts, catalog, selected)
    return go_back(back, "/runs", act=act, refused=len(refused))


@pages.post("/runs/compare")
def compare_runs(
    parts: PartsDep, runs: RunsForm = [], every: EveryForm = "", matching: BackForm = ""
) -> RedirectResponse:
    """Open the comparison of the selected runs, up to the maximum that it shows."""
    selected = _selected_ids(parts, runs, every, matching)
    return RedirectResponse(f"/compare?runs={quote(','.join(selected[: MOST_RUNS + 1]), safe=',')}", 303)


@pages.post("/runs/undo")
def undo_last(parts: PartsDep, act: Annotated[str, Form(max_length=60)], back: BackForm = "/runs") -> RedirectResponse:
    """Undo a deletion, a tag change, a relaunch or an edit."""
    undo_act(parts, act)
    return go_back(back, "/runs", undone=act)


@pages.post("/runs/{run_id}/edit")
def edit_run(
    run_id: str,
    parts: PartsDep,
    name: Annotated[str, Form(max_length=200)] = "",
    notes: Annotated[str, Form(max_length=20_000)] = "",
    tags: Annotated[str, Form(max_length=1500)] = "",
    back: BackForm = "/runs",
) -> RedirectResponse:
    """Edit name, notes and tags of a run."""
    tag_list = list(dict.fromkeys(split_tags(tags)))
    if len(tag_list) > MAX_TAGS or any(len(tag) > 50 for tag in tag_list):
        sentence = f"a run can have at most {MAX_TAGS} tags of up to 50 characters each"
        raise Invalid(sentence, [FieldError("tags", sentence)])
    changes = {"name": name.strip(), "notes": notes.replace("\r\n", "\n"), "tags": tag_list}
    return go_back(back, "/runs", act=edit_details(parts, run_id, changes))


@pages.post("/runs/{run_id}/cancel")
def stop_run(run_id: str, parts: PartsDep, back: BackForm = "") -> RedirectResponse:
    """Stop a run; if it had not started, the next page offers to undo this."""
    result = cancel_many(parts, RunSelection([run_id]))
    return go_back(back, f"/runs/{run_id}", undo=repr(result.at) if result.cancelled else "")


@pages.post("/runs/{run_id}/delete")
def delete_one(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Move a run to the trash; if it cannot be deleted, its page says why."""
    find_run(parts, run_id)
    act, not_deleted = delete_many(parts, [run_id])
    if not_deleted:
        return go_back(f"/runs/{run_id}", "/runs", kept=not_deleted)
    return go_back("/runs", "/runs", act=act)
