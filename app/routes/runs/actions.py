"""What is done to the chosen runs of the table, or to all that match: by forms that need no script."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import cancel_many
from app.actions.runs import delete
from app.actions.undo import delete_many, edit_details, relaunch_many, tag_many, undo_act, untag_many
from app.contract.errors import Invalid
from app.contract.spec import FieldError
from app.routes.launch.form import split_tags
from app.routes.runs.table import Refusal, show_table
from app.routes.runs.table_request import listing_at, listing_of
from app.store.bulk import MOST_TAGS, Which, missing
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


def ids_of(values: Sequence[str]) -> list[str]:
    """The ids in fields that hold one each, or several by comma."""
    return list(dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip()))


def _chosen(parts: Parts, runs: Sequence[str], every: str, matching: str) -> list[str]:
    """The runs that are meant: the chosen ones, or all that match; those that are gone left out."""
    with reading(parts.engine) as connection:
        if every:
            return matching_ids(connection, listing_of(matching).where, MOST_AT_ONCE, time.time())
        found = ids_of(runs)[:MOST_AT_ONCE]
        while (gone := missing(connection, found)) is not None:
            found.remove(gone)
        return found


@pages.post("/runs/stop")
def stop_runs(
    parts: PartsDep, runs: RunsForm = [], every: EveryForm = "", matching: BackForm = "", back: BackForm = "/runs"
) -> RedirectResponse:
    """Stop the chosen runs; those that have ended stay as they are."""
    done = cancel_many(parts, Which(_chosen(parts, runs, every, matching)))
    return go_back(back, "/runs", undo=repr(done.at) if done.cancelled else "", stopped=len(done.stopping))


@pages.post("/runs/delete")
def delete_runs(
    parts: PartsDep, runs: RunsForm = [], every: EveryForm = "", matching: BackForm = "", back: BackForm = "/runs"
) -> RedirectResponse:
    """Put the chosen runs into the trash; those that have not ended are kept."""
    act, kept = delete_many(parts, _chosen(parts, runs, every, matching))
    return go_back(back, "/runs", act=act, kept=kept)


def _why_not(tags: Sequence[str]) -> str:
    """Why these cannot be tags of a run, "" where they can."""
    if not tags:
        return "name a tag, or several by comma"
    if len(tags) > MOST_TAGS:
        return f"a run has {MOST_TAGS} tags at most"
    long = next((tag for tag in tags if len(tag) > 50), "")
    return f"a tag has 50 characters at most, '{long[:20]}…' has {len(long)}" if long else ""


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
    """Give the chosen runs a tag, or several by comma; what cannot be one is said in the table that it was typed at."""
    tags = list(dict.fromkeys(split_tags(tagged)))
    if wrong := _why_not(tags):
        return show_table(request, parts, listing_at(back), refusal=Refusal(wrong, tagged, frozenset(runs), every))
    return go_back(back, "/runs", act=tag_many(parts, _chosen(parts, runs, every, matching), tags))


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
    """Take a tag from the chosen runs, or several by comma."""
    tags = list(dict.fromkeys(split_tags(tagged)))
    if wrong := _why_not(tags):
        return show_table(request, parts, listing_at(back), refusal=Refusal(wrong, tagged, frozenset(runs), every))
    return go_back(back, "/runs", act=untag_many(parts, _chosen(parts, runs, every, matching), tags))


@pages.post("/runs/relaunch")
async def relaunch_runs(
    parts: PartsDep,
    catalog: CatalogDep,
    runs: RunsForm = [],
    every: EveryForm = "",
    matching: BackForm = "",
    back: BackForm = "/runs",
) -> RedirectResponse:
    """Launch each of the chosen runs once more, as it was."""
    chosen = await run_in_threadpool(_chosen, parts, runs, every, matching)
    act, refused = await relaunch_many(parts, catalog, chosen)
    return go_back(back, "/runs", act=act, refused=len(refused))


@pages.post("/runs/compare")
def compare_runs(
    parts: PartsDep, runs: RunsForm = [], every: EveryForm = "", matching: BackForm = ""
) -> RedirectResponse:
    """The comparison of the chosen runs, of as many as are told apart there."""
    chosen = _chosen(parts, runs, every, matching)
    return RedirectResponse(f"/compare?runs={quote(','.join(chosen[: MOST_RUNS + 1]), safe=',')}", 303)


@pages.post("/runs/undo")
def undo_last(parts: PartsDep, act: Annotated[str, Form(max_length=60)], back: BackForm = "/runs") -> RedirectResponse:
    """Undo a deletion, a tag, a relaunch, or other words."""
    undo_act(parts, act)
    return go_back(back, "/runs", undone=act)


@pages.post("/runs/{run_id}/words")
def edit_run(
    run_id: str,
    parts: PartsDep,
    name: Annotated[str, Form(max_length=200)] = "",
    notes: Annotated[str, Form(max_length=20_000)] = "",
    tags: Annotated[str, Form(max_length=1500)] = "",
    back: BackForm = "/runs",
) -> RedirectResponse:
    """Another name, other notes, other tags."""
    given = list(dict.fromkeys(split_tags(tags)))
    if len(given) > MOST_TAGS or any(len(tag) > 50 for tag in given):
        sentence = f"a run has {MOST_TAGS} tags at most, of 50 characters each"
        raise Invalid(sentence, [FieldError("tags", sentence)])
    changes = {"name": name.strip(), "notes": notes.replace("\r\n", "\n"), "tags": given}
    return go_back(back, "/runs", act=edit_details(parts, run_id, changes))


@pages.post("/runs/{run_id}/cancel")
def stop_run(run_id: str, parts: PartsDep, back: BackForm = "") -> RedirectResponse:
    """Stop one run; where it had not started, the page that it leads back to offers to undo that."""
    done = cancel_many(parts, Which([run_id]))
    return go_back(back, f"/runs/{run_id}", undo=repr(done.at) if done.cancelled else "")


@pages.post("/runs/{run_id}/delete")
def delete_one(run_id: str, parts: PartsDep) -> RedirectResponse:
    """Put one run into the trash."""
    act, kept = delete_many(parts, [run_id])
    if kept:
        # Says why it cannot be.
        delete(parts, run_id)
    return go_back("/runs", "/runs", act=act)
