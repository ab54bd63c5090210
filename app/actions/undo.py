"""What users do to runs of the table and to saved views, and how it is undone: tags, trash, relaunches, words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import announce_runs, cancel_many
from app.actions.lineage import clone, launch_clone
from app.contract.catalog import Catalog
from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.spec import SpecError
from app.store import bulk
from app.store import run as run_store
from app.store.bulk import Which
from app.store.database import next_commit, writing
from app.store.edit import edit
from app.store.undo import ActRecord, find_act, mark_undone, note_act
from app.store.view import NameTaken, ViewRecord, delete_view, find_view, put_view, rename_view
from app.web.dependencies import Parts

MOST_RELAUNCHED = 200

Change = Callable[[Connection, int, float], list[str]]


def _s(many: int) -> str:
    return f"{many:,} run{'' if many == 1 else 's'}"


def _done(parts: Parts, change: Change, kind: str, describe: Callable[[list[str]], str], before: dict[str, Any]) -> str:
    """Change runs in one transaction and write down how to undo it; the act's id, "" where nothing changed."""
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        changed = change(connection, commit, now)
        act = note_act(connection, kind, describe(changed), before | {"runs": changed}, now) if changed else ""
    announce_runs(parts, commit, changed)
    return act


def delete_many(parts: Parts, runs: Sequence[str]) -> tuple[str, int]:
    """Put those that have ended into the trash; the act and how many were kept because they have not."""
    kept = 0

    def change(connection: Connection, commit: int, now: float) -> list[str]:
        nonlocal kept
        done = bulk.trash_runs(connection, runs, commit, now)
        kept = len(runs) - len(done)
        return done

    act = _done(parts, change, "delete", lambda done: f"{_s(len(done))} deleted.", {})
    return act, kept


def tag_many(parts: Parts, runs: Sequence[str], tags: Sequence[str]) -> str:
    """Give runs tags; those that have one of them already keep it when this is undone."""
    given: dict[str, list[str]] = {}

    def change(connection: Connection, commit: int, now: float) -> list[str]:
        for tag in tags:
            given[tag] = bulk.tag_runs(connection, runs, tag, commit)
        return _all_of(given)

    return _done(parts, change, "tag", lambda done: f"{_s(len(done))} tagged {', '.join(tags)}.", {"tags": given})


def untag_many(parts: Parts, runs: Sequence[str], tags: Sequence[str]) -> str:
    """Take tags from runs."""
    taken: dict[str, list[str]] = {}

    def change(connection: Connection, commit: int, now: float) -> list[str]:
        for tag in tags:
            taken[tag] = bulk.untag_runs(connection, runs, tag, commit)
        return _all_of(taken)

    def describe(done: list[str]) -> str:
        return f"Tag{'s' if len(tags) > 1 else ''} {', '.join(tags)} taken from {_s(len(done))}."

    return _done(parts, change, "untag", describe, {"tags": taken})


def _all_of(runs_by_tag: Mapping[str, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(run for some in runs_by_tag.values() for run in some))


async def relaunch_many(parts: Parts, catalog: Catalog, runs: Sequence[str]) -> tuple[str, list[str]]:
    """Launch each run once more with what it was launched with, the oldest first; and why some could not be.

    Raises Conflict for more than MOST_RELAUNCHED.
    """
    if len(runs) > MOST_RELAUNCHED:
        raise Conflict(f"{len(runs):,} runs are more than the {MOST_RELAUNCHED} that are launched again at once")
    made: list[str] = []
    refused: list[str] = []
    for run in reversed(runs):
        try:
            spec, config = await run_in_threadpool(clone, parts, catalog, run, {})
            await parts.inspector.check(config)
            made.append(await run_in_threadpool(launch_clone, parts, catalog, run, spec, config))
        except (SpecError, Invalid, NotFound, Conflict) as error:
            refused.append(f"{run}: {error}")
    act = ""
    if made:
        with writing(parts.engine) as connection:
            act = note_act(connection, "relaunch", f"{_s(len(made))} launched again.", {"runs": made}, time.time())
    return act, refused


def edit_details(parts: Parts, run: str, changes: dict[str, Any]) -> str:
    """Change name, notes or tags of a run; the act. Raises NotFound."""
    now = time.time()
    with writing(parts.engine) as connection:
        record = run_store.load_run(connection, run)
        if record is None:
            raise NotFound(f"no run '{run[:40]}'")
        before = {"name": record.config.name, "notes": record.config.notes, "tags": record.tags}
        if all(before[name] == value for name, value in changes.items()):
            return ""
        commit = next_commit(connection)
        edit(connection, run, changes, commit)
        sentence = f"Run #{record.number} changed."
        act = note_act(connection, "edit", sentence, {"runs": [run], "words": before}, now)
    announce_runs(parts, commit, [run])
    return act


def delete_saved_view(parts: Parts, view: str) -> str:
    """Delete a saved view; the act. Raises NotFound."""
    with writing(parts.engine) as connection:
        found = find_view(connection, view)
        if found is None or not delete_view(connection, view):
            raise NotFound(f"no view '{view[:40]}'")
        return note_act(connection, "delete view", f"View {found.name} deleted.", {"view": found.__dict__}, time.time())


def rename_saved_view(parts: Parts, view: str, name: str) -> str:
    """Give a saved view another name; the act. Raises NotFound, and Conflict where the name is taken."""
    try:
        with writing(parts.engine) as connection:
            found = find_view(connection, view)
            if found is None or not rename_view(connection, view, name):
                raise NotFound(f"no view '{view[:40]}'")
            sentence = f"View {found.name} is called {name} now."
            return note_act(connection, "rename view", sentence, {"view": found.__dict__}, time.time())
    except NameTaken as error:
        raise Conflict(str(error)) from error


def undo_act(parts: Parts, act: str) -> str:
    """Bring back what was before an act; a sentence. Raises NotFound, and Conflict where that cannot be any more."""
    now = time.time()
    changed: list[str] = []
    with writing(parts.engine) as connection:
        found = find_act(connection, act)
        if found is None:
            raise NotFound("what was to be undone is not remembered any more")
        if not mark_undone(connection, act, now):
            raise Conflict("this has been undone already")
        commit = next_commit(connection)
        if found.kind != "relaunch":
            changed = _undo(connection, found, commit)
    announce_runs(parts, commit, changed)
    if found.kind == "relaunch":
        done = cancel_many(parts, Which(found.before["runs"]))
        return f"{_s(len(done.cancelled) + len(done.stopping))} stopped."
    if found.kind == "delete":
        return f"{_s(len(changed))} restored."
    return "Undone."


def _undo(connection: Connection, act: ActRecord, commit: int) -> list[str]:
    runs: list[str] = act.before.get("runs", [])
    match act.kind:
        case "delete":
            return bulk.take_out(connection, runs, commit)
        case "tag" | "untag":
            # What was written down before several could be given at once has one tag.
            tags = act.before["tags"] if "tags" in act.before else {act.before["tag"]: runs}
            back = bulk.untag_runs if act.kind == "tag" else bulk.tag_runs
            return _all_of({tag: back(connection, some, tag, commit) for tag, some in tags.items()})
        case "edit":
            there = [run for run in runs if run_store.load_run(connection, run) is not None]
            for run in there:
                edit(connection, run, act.before["words"], commit)
            return there
        case "delete view" | "rename view":
            view = ViewRecord(**act.before["view"])
            try:
                if not rename_view(connection, view.id, view.name):
                    put_view(connection, view)
            except NameTaken as error:
                raise Conflict(str(error)) from error
    return []
