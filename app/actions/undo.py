"""Actions that can be undone: on runs (trash, tags, relaunch, edit), saved views, datasets and registered models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import announce_runs, cancel_many
from app.actions.lineage import clone, launch_clone
from app.actions.model_registry import bring_back_version
from app.contract.catalog import Catalog
from app.contract.errors import Conflict, Invalid, NotFound
from app.contract.spec import SpecError
from app.services.own_dataset_trash import restore_dataset
from app.store import bulk
from app.store import run as run_store
from app.store.bulk import RunSelection
from app.store.database import next_commit, writing
from app.store.edit import edit
from app.store.registered_model import ModelVersionRecord
from app.store.saved_view import NameTaken, ViewRecord, delete_view, find_view, put_view, rename_view
from app.store.undo import ActRecord, find_act, mark_undone, record_act
from app.web.dependencies import Parts

MOST_RELAUNCHED = 200

Change = Callable[[Connection, int, float], list[str]]


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


def _perform(
    parts: Parts, change: Change, kind: str, describe: Callable[[list[str]], str], before: dict[str, Any]
) -> str:
    """Change runs in one transaction and record how to undo it; returns the action's ID, "" if nothing changed."""
    now = time.time()
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        changed = change(connection, commit, now)
        act = record_act(connection, kind, describe(changed), before | {"runs": changed}, now) if changed else ""
    announce_runs(parts, commit, changed)
    return act


def delete_many(parts: Parts, runs: Sequence[str]) -> tuple[str, int]:
    """Move ended runs to the trash; returns the action's ID and the number of runs that have not ended."""
    skipped = 0

    def change(connection: Connection, commit: int, now: float) -> list[str]:
        nonlocal skipped
        done = bulk.trash_runs(connection, runs, commit, now)
        skipped = len(runs) - len(done)
        return done

    act = _perform(parts, change, "delete", lambda done: f"{_runs(len(done))} deleted.", {})
    return act, skipped


def tag_many(parts: Parts, runs: Sequence[str], tags: Sequence[str]) -> str:
    """Add tags to runs; an undo leaves tags that a run already had."""
    given: dict[str, list[str]] = {}

    def change(connection: Connection, commit: int, now: float) -> list[str]:
        for tag in tags:
            given[tag] = bulk.tag_runs(connection, runs, tag, commit)
        return _all_of(given)

    return _perform(parts, change, "tag", lambda done: f"{_runs(len(done))} tagged {', '.join(tags)}.", {"tags": given})


def untag_many(parts: Parts, runs: Sequence[str], tags: Sequence[str]) -> str:
    """Remove tags from runs."""
    taken: dict[str, list[str]] = {}

    def change(connection: Connection, commit: int, now: float) -> list[str]:
        for tag in tags:
            taken[tag] = bulk.untag_runs(connection, runs, tag, commit)
        return _all_of(taken)

    def describe(done: list[str]) -> str:
        return f"Tag{'s' if len(tags) > 1 else ''} {', '.join(tags)} removed from {_runs(len(done))}."

    return _perform(parts, change, "untag", describe, {"tags": taken})


def _all_of(runs_by_tag: Mapping[str, Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(run for some in runs_by_tag.values() for run in some))


async def relaunch_many(parts: Parts, catalog: Catalog, runs: Sequence[str]) -> tuple[str, list[str]]:
    """Launch each run again with its original spec, oldest first; returns the action's ID and the refusals.

    Raises Conflict for more than MOST_RELAUNCHED.
    """
    if len(runs) > MOST_RELAUNCHED:
        raise Conflict(f"cannot relaunch {len(runs):,} runs at once; the maximum is {MOST_RELAUNCHED}")
    launched: list[str] = []
    refused: list[str] = []
    for run in reversed(runs):
        try:
            spec, config = await run_in_threadpool(clone, parts, catalog, run, {})
            await parts.inspector.check(config)
            launched.append(await run_in_threadpool(launch_clone, parts, catalog, run, spec, config))
        except (SpecError, Invalid, NotFound, Conflict) as error:
            refused.append(f"{run}: {error}")
    act = ""
    if launched:
        with writing(parts.engine) as connection:
            act = record_act(
                connection, "relaunch", f"{_runs(len(launched))} relaunched.", {"runs": launched}, time.time()
            )
    return act, refused


def edit_details(parts: Parts, run: str, changes: dict[str, Any]) -> str:
    """Change a run's name, notes or tags; returns the action's ID. Raises NotFound."""
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
        sentence = f"Run #{record.number} edited."
        act = record_act(connection, "edit", sentence, {"runs": [run], "words": before}, now)
    announce_runs(parts, commit, [run])
    return act


def delete_saved_view(parts: Parts, view: str) -> str:
    """Delete a saved view; returns the action's ID. Raises NotFound."""
    with writing(parts.engine) as connection:
        record = find_view(connection, view)
        if record is None or not delete_view(connection, view):
            raise NotFound(f"no view '{view[:40]}'")
        return record_act(
            connection, "delete view", f"View {record.name} deleted.", {"view": record.__dict__}, time.time()
        )


def rename_saved_view(parts: Parts, view: str, name: str) -> str:
    """Rename a saved view; returns the action's ID. Raises NotFound, and Conflict if the name is taken."""
    try:
        with writing(parts.engine) as connection:
            record = find_view(connection, view)
            if record is None or not rename_view(connection, view, name):
                raise NotFound(f"no view '{view[:40]}'")
            sentence = f"View {record.name} renamed to {name}."
            return record_act(connection, "rename view", sentence, {"view": record.__dict__}, time.time())
    except NameTaken as error:
        raise Conflict(str(error)) from error


def undo_act(parts: Parts, act: str) -> str:
    """Undo an action and return a sentence about it. Raises NotFound, and Conflict if it was already undone."""
    now = time.time()
    changed: list[str] = []
    with writing(parts.engine) as connection:
        record = find_act(connection, act)
        if record is None:
            raise NotFound("this action can no longer be undone")
        if not mark_undone(connection, act, now):
            raise Conflict("this action was already undone")
        commit = next_commit(connection)
        if record.kind != "relaunch":
            changed = _undo(connection, record, commit, parts.settings.datasets)
    announce_runs(parts, commit, changed)
    if record.kind == "relaunch":
        done = cancel_many(parts, RunSelection(record.before["runs"]))
        return f"{_runs(len(done.cancelled) + len(done.stopping))} stopped."
    if record.kind == "delete":
        return f"{_runs(len(changed))} restored."
    return "Undone."


def _undo(connection: Connection, act: ActRecord, commit: int, datasets: Path) -> list[str]:
    runs: list[str] = act.before.get("runs", [])
    match act.kind:
        case "delete":
            return bulk.untrash_runs(connection, runs, commit)
        case "tag" | "untag":
            # Records from older versions have a single tag.
            tags = act.before["tags"] if "tags" in act.before else {act.before["tag"]: runs}
            back = bulk.untag_runs if act.kind == "tag" else bulk.tag_runs
            return _all_of({tag: back(connection, some, tag, commit) for tag, some in tags.items()})
        case "edit":
            existing = [run for run in runs if run_store.load_run(connection, run) is not None]
            for run in existing:
                edit(connection, run, act.before["words"], commit)
            return existing
        case "delete view" | "rename view":
            view = ViewRecord(**act.before["view"])
            try:
                if not rename_view(connection, view.id, view.name):
                    put_view(connection, view)
            except NameTaken as error:
                raise Conflict(str(error)) from error
        case "remove version":
            bring_back_version(connection, ModelVersionRecord(**act.before))
        case "delete dataset":
            entry = str(act.before["entry"])
            if not restore_dataset(datasets, entry):
                name = entry.partition("@")[0]
                raise Conflict(f"cannot restore {name}: it was permanently deleted, or its name is taken")
    return []
