"""Removes what the settings no longer keep: by age, and the oldest first when a disk or what is stored has grown.

A plan only says what would go. To apply it, the database forgets the files and writes down that they are to be deleted,
in one transaction; then they are deleted one by one, by whichever recorder runs (docs/decisions/0067-retention.md).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from sqlalchemy import Connection, Engine

from app.contract.disk_space import free_space
from app.contract.retention import LABELS, Kind, RunKind
from app.contract.settings import Settings
from app.services import artifacts
from app.store import retention
from app.store.audit_event import record_event
from app.store.database import next_commit, reading, writing
from app.store.disk_use import disk_use
from app.store.removal import Doomed, count_removals, finish_removal
from app.store.retention import Removable

logger = logging.getLogger("runyard.retention")

DAY: Final = 86_400.0
GIB: Final = 2**30
BY_DISK: Final[tuple[RunKind, ...]] = ("checkpoints", "predictions")
"""What goes if space is needed. Logs are in the database, whose file does not shrink."""
PER_COMMIT: Final = 25
"""How many things go in one transaction: others wait for it."""


@dataclass(frozen=True)
class Rule:
    """A setting of retention: for how long a kind is kept, or how much may be used; ``value`` None: no limit."""

    setting: str
    value: float | None
    unit: str


@dataclass(frozen=True)
class Entry:
    """What is to be removed, and why; ``before``: what is older goes, in seconds since 1970."""

    item: Removable
    why: str
    before: float


@dataclass(frozen=True)
class Plan:
    """What the settings no longer keep. ``missing``: bytes that are to be freed and that nothing removable has."""

    entries: tuple[Entry, ...]
    missing: int = 0

    @property
    def bytes(self) -> int:
        """What all of it takes."""
        return sum(entry.item.bytes for entry in self.entries)


@dataclass(frozen=True)
class Space:
    """Free bytes on the disk of the artifact store, None if that has none, and the bytes of all runs' files."""

    free: int | None
    stored: int


def rules(settings: Settings) -> list[Rule]:
    """All settings of retention."""
    days = [Rule(_setting(kind), getattr(settings, f"{kind}_days"), "days") for kind in get_args(Kind)]
    names = ("keep_free_gib", "most_stored_gib")
    return [*days, *(Rule(f"RUNYARD_{name.upper()}", getattr(settings, name), "GiB") for name in names)]


def _setting(kind: str) -> str:
    return f"RUNYARD_{kind.upper()}_DAYS"


def measure_space(settings: Settings, connection: Connection) -> Space:
    """Measure what the limits of space are about, if there are any; files that are being deleted count as deleted."""
    if settings.keep_free_gib is None and settings.most_stored_gib is None:
        return Space(None, 0)
    free = None
    store = settings.artifacts.removeprefix("file://")
    if "://" not in store:
        try:
            free = free_space(Path(store).absolute())[0] + count_removals(connection)[1]
        except OSError as error:
            logger.warning("cannot see how much room the disk of the artifact store has: %s", error)
    return Space(free, disk_use(connection).total)


# Plan ----------------------------------------------------------------------------------------------------------------


def plan(settings: Settings, connection: Connection, now: float, space: Space | None = None) -> Plan:
    """Say what the settings no longer keep, the oldest of each kind first. ``space``: as measured, if not now."""
    space = measure_space(settings, connection) if space is None else space
    entries: list[Entry] = []
    for kind in get_args(Kind):
        days = getattr(settings, f"{kind}_days")
        if days is not None:
            found = _find(settings, connection, kind, now - days * DAY, now)
            entries += [Entry(_measured(settings, item), _age(item, days, now), now - days * DAY) for item in found]
    needed = _needed(settings, space) - sum(entry.item.bytes for entry in entries if entry.item.kind != "logs")
    if needed <= 0:
        return Plan(tuple(entries))
    chosen = {(entry.item.kind, entry.item.run) for entry in entries}
    older = [item for kind in BY_DISK for item in retention.find_removable(connection, kind, now, now)]
    for item in sorted(older, key=lambda each: (each.since, each.number or 0)):
        if needed > 0 and (item.kind, item.run) not in chosen:
            item = _measured(settings, item)
            entries.append(Entry(item, f"of the oldest; {needed / GIB:,.1f} GiB more are needed", now))
            needed -= item.bytes
    return Plan(tuple(entries), max(0, needed))


def _find(settings: Settings, connection: Connection, kind: Kind, before: float, now: float) -> list[Removable]:
    if kind == "trash":
        return retention.find_deleted(connection, before)
    if kind == "spools":
        return _find_spools(settings, connection, before)
    return retention.find_removable(connection, kind, before, now)


def _age(item: Removable, days: float, now: float) -> str:
    since = {"trash": "deleted", "spools": "written", "predictions": "predicted"}.get(item.kind, "ended")
    return f"{since} {(now - item.since) / DAY:,.1f} days ago, kept for {days:g} day{'' if days == 1 else 's'}"


def _needed(settings: Settings, space: Space) -> int:
    """Bytes that have to be freed."""
    needed = [0.0]
    if settings.keep_free_gib is not None and space.free is not None:
        needed.append(settings.keep_free_gib * GIB - space.free)
    if settings.most_stored_gib is not None:
        needed.append(space.stored - settings.most_stored_gib * GIB)
    return math.ceil(max(needed))


def _measured(settings: Settings, item: Removable) -> Removable:
    """The same, with the sizes of checkpoints of earlier versions of Runyard, which were not recorded."""
    if item.kind not in ("checkpoints", "best_checkpoints") or all(size for _, size in item.files):
        return item
    files = tuple((path, size or artifacts.size(settings, path) or 0) for path, size in item.files)
    return replace(item, files=files)


def _find_spools(settings: Settings, connection: Connection, before: float) -> list[Removable]:
    """Reports on this machine of runs that have ended or are gone, and that no process writes or sends now."""
    found: dict[str, list[tuple[str, int, float]]] = {}
    for path in settings.spool.glob("*.*.[01]"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.setdefault(path.name.split(".", 1)[0], []).append((path.name, status.st_size, status.st_mtime))
    known = retention.titles(connection, found)
    spools = []
    for run, files in found.items():
        since = max(changed for _, _, changed in files)
        if since < before and not retention.is_live(connection, run):
            number, title = known.get(run, (None, ""))
            sizes = tuple(sorted((name, size) for name, size, _ in files))
            spools.append(Removable("spools", run, number, title, since, sizes))
    return sorted(spools, key=lambda each: each.since)


# Removing ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Actor:
    """Who removes, for the audit log."""

    who: str = "Runyard"
    credential: str = "retention"
    address: str = ""


BY_ITSELF: Final = Actor()


def apply(
    settings: Settings, engine: Engine, entries: Sequence[Entry], now: float, actor: Actor = BY_ITSELF
) -> tuple[int, list[Removable]]:
    """Take from runs what a plan says, as far as it can still go; returns the commit and what went.

    What has become protected since the plan was made stays.
    """
    done: list[Removable] = []
    with writing(engine) as connection:
        commit = next_commit(connection)
        for entry in entries:
            if entry.item.kind == "spools" and not any(
                (settings.spool / name).exists() for name, _ in entry.item.files
            ):
                continue
            removed = retention.remove(connection, entry.item, entry.before, commit, now)
            if removed is not None:
                done.append(removed)
        if done:
            kinds = Counter[str](item.kind for item in done)
            detail = {"runs": len({item.run for item in done}), "bytes": sum(item.bytes for item in done)} | kinds
            action = "retention.apply"
            record_event(connection, at=now, action=action, detail=detail, **vars(actor))
    for item in done:
        logger.info("removed %s of run %s", LABELS[item.kind], item.run, extra={"run": item.run})
    return commit, done


def delete_file(settings: Settings, engine: Engine, doomed: Doomed) -> None:
    """Delete a file that a run no longer has. Raises OSError, also BlockingIOError for one that is in use.

    Nothing happens if it is gone, as after a crash, or if an evaluation has written it again.
    """
    with reading(engine) as connection:
        if retention.is_about_to_change(connection, doomed.run):
            raise BlockingIOError(errno.EAGAIN, "a job on its run has not ended")
        again = retention.is_written_again(connection, doomed.path)
    if doomed.kind == "spools":
        _delete_spool(settings.spool / Path(doomed.path).name)
    elif not again:
        artifacts.remove(settings, doomed.path)
    with writing(engine) as connection:
        finish_removal(connection, doomed.path)


def _delete_spool(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            # A worker that has just started may be sending it.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except FileNotFoundError:
        return
