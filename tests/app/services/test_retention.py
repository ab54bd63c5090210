"""What no setting keeps is planned, and removed: never anything that somebody still needs, and once only."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.contract.events import Checkpoint, LogLine, PredictionsKept
from app.contract.settings import Settings
from app.services import artifacts, retention
from app.services.retention import DAY, GIB, Plan, Space
from app.store import model_job
from app.store.alias import point_alias
from app.store.audit_event import list_events
from app.store.database import next_commit, reading, writing
from app.store.disk_use import disk_use
from app.store.lineage import save_checkpoint
from app.store.log import add_lines
from app.store.prediction_file import record_file
from app.store.removal import list_removals, removals_of, why_removed
from tests.conftest import Runs

NOW = 1_800_000_000.0
BYTES = GIB


@dataclass(frozen=True)
class Past:
    """What a run of an example has been through. ``ended``, ``deleted``: days ago; ``deleted`` None: it was not.

    ``continues``: the place of the run from which it continues.
    """

    status: str = "succeeded"
    attempt: int = 1
    ended: float = 100.0
    deleted: float | None = None
    last: bool = True
    best: bool = True
    saved: bool = True
    started_from: bool = False
    predicted: bool = True
    logged: bool = True
    named: bool = False
    named_before: bool = False
    evaluated: bool = False
    continues: int | None = None

    @property
    def protected(self) -> bool:
        """Whether nothing of it may go, whatever others do."""
        restorable = self.status == "cancelled" and not self.attempt and self.ended < 1
        unended = self.status not in ("succeeded", "failed", "cancelled")
        return unended or restorable or self.named or self.named_before or self.evaluated or self.ended < 1 / 24


PASTS = st.builds(
    Past,
    status=st.sampled_from(("succeeded", "succeeded", "failed", "cancelled", "cancelled", "running", "lost")),
    attempt=st.integers(0, 1),
    ended=st.sampled_from((40.0, 9.0, 2.0, 0.5, 0.01)),
    deleted=st.sampled_from((None, None, 1.0, 9.0)),
    **dict.fromkeys(("last", "best", "saved", "started_from", "predicted", "logged"), st.booleans()),
    **dict.fromkeys(("named", "named_before", "evaluated"), st.sampled_from((False, False, False, True))),
    continues=st.none() | st.integers(0, 4),
)
DAYS = st.sampled_from((0.0, 1.0, 10.0, None))
LIMITS = st.fixed_dictionaries(
    {
        **{f"{kind}_days": DAYS for kind in ("checkpoints", "best_checkpoints", "predictions", "logs", "spools")},
        **{name: st.sampled_from((None, 0.0, 3.0, 8.0)) for name in ("keep_free_gib", "most_stored_gib")},
    }
)


def write(settings: Settings, path: str) -> str:
    artifacts.write(settings, path, b"x")
    return path


def add(settings: Settings, engine: Engine, runs: Runs, past: Past, parent: str | None = None) -> str:
    """A run with this past; each of its files takes a GiB, as far as its row says."""
    run = runs.add()
    ended = NOW - past.ended * DAY
    values: dict[str, Any] = {"status": past.status, "attempt": past.attempt}
    values["ended_at"] = ended if past.status in ("succeeded", "failed", "cancelled") else None
    if past.deleted is not None:
        values["deleted_at"] = NOW - past.deleted * DAY
    if parent is not None:
        values |= {"parent": parent, "relation": "resume", "parent_step": 3}

    def checkpoint(path: str, step: int = 9) -> Checkpoint:
        return Checkpoint(path=write(settings, path), epoch=1, step=step, bytes=BYTES)

    if past.last:
        values["checkpoint"] = checkpoint(f"{run}/1/last-9.safetensors").model_dump_json()
    if past.best:
        values["best_checkpoint"] = checkpoint(f"{run}/1/best.safetensors").model_dump_json()
    runs.set(run, **values)
    with writing(engine) as connection:
        if past.saved:
            save_checkpoint(connection, run, checkpoint(f"{run}/1/epoch-1.safetensors", 5))
        if past.started_from:
            save_checkpoint(connection, run, checkpoint(f"{run}/0/last.safetensors", 3))
        if past.predicted:
            path = write(settings, f"{run}/1/predictions")
            kept = PredictionsKept(path=path, kind="final", epoch=1, step=9, bytes=BYTES)
            record_file(connection, run, 1, kept, ended)
        if past.logged:
            add_lines(connection, run, 1, [LogLine(time=ended, level="info", text="training")], 1)
        if past.evaluated:
            model_job.add_job(connection, run, "evaluate", {}, NOW)
    return run


def point(engine: Engine, run: str, past: Past, other: str) -> None:
    """Let a name point to the run, or have pointed to it before it was moved to ``other``."""
    with writing(engine) as connection:
        if past.named or past.named_before:
            point_alias(connection, f"of-{run[2:]}", run, NOW)
        if past.named_before:
            point_alias(connection, f"of-{run[2:]}", other, NOW)


def state(settings: Settings, engine: Engine) -> dict[str, Any]:
    """Everything that retention could change, by run."""
    found: dict[str, Any] = {}
    with reading(engine) as connection:
        for row in connection.execute(text("SELECT id, checkpoint, best_checkpoint, removed FROM run")):
            found[row.id] = [tuple(row)]
        for table, columns in (("kept_checkpoint", "path"), ("prediction_file", "path"), ("run_log", "text")):
            for row in connection.execute(text(f"SELECT run, {columns} FROM {table} ORDER BY run, {columns}")):
                found[row.run].append((table, *row))
    for path in sorted(artifacts.find(settings, "*/*/*")):
        found.setdefault(path.partition("/")[0], []).append(path)
    return found


def planned(settings: Settings, engine: Engine, space: Space | None = None) -> Plan:
    with reading(engine) as connection:
        return retention.plan(settings, connection, NOW, space)


def carry_out(settings: Settings, engine: Engine, plan: Plan) -> None:
    """Apply a plan, and delete the files."""
    retention.apply(settings, engine, plan.entries, NOW)
    finish(settings, engine)


def finish(settings: Settings, engine: Engine) -> None:
    with reading(engine) as connection:
        doomed = list_removals(connection)
    for each in doomed:
        retention.delete_file(settings, engine, each)


def forget_everything(settings: Settings, engine: Engine) -> None:
    with writing(engine) as connection:
        for table in ("alias", "alias_move", "run", "removal"):
            connection.execute(text(f"DELETE FROM {table}"))
    artifacts.remove(settings, "")


@given(st.lists(PASTS, min_size=1, max_size=5), LIMITS)
def test_no_plan_touches_what_is_protected_and_applied_twice_it_is_as_once(
    settings: Settings, engine: Engine, runs: Runs, pasts: list[Past], limits: dict[str, float | None]
) -> None:
    forget_everything(settings, engine)
    settings = settings.model_copy(update=limits)
    ids: list[str] = []
    for place, past in enumerate(pasts):
        parent = ids[past.continues] if past.continues is not None and past.continues < place else None
        ids.append(add(settings, engine, runs, past, parent))
    other = add(settings, engine, runs, Past(named=True))
    for run, past in zip(ids, pasts, strict=True):
        point(engine, run, past, other)
    parents = {runs.get(run).row["parent"] for run in ids}
    spared = {
        run
        for run, past in zip(ids, pasts, strict=True)
        if past.protected or run in parents or (past.deleted is not None and past.deleted < settings.trash_days)
    }
    # A run that was deleted too long ago goes with all that it has, unless a name points to it.
    spared -= {
        run
        for run, past in zip(ids, pasts, strict=True)
        if past.deleted is not None and past.deleted > settings.trash_days and not past.named
    }
    before = state(settings, engine)
    with reading(engine) as connection:
        stored = disk_use(connection).total
    space = Space(20 * GIB - stored, stored)
    plan = planned(settings, engine, space)
    assert not spared & {entry.item.run for entry in plan.entries}
    carry_out(settings, engine, plan)
    after = state(settings, engine)
    for run, past in zip(ids, pasts, strict=True):
        if run in spared:
            assert after[run] == before[run]
            continue
        gone = past.deleted is not None
        assert (run in after) is not gone
        if not gone and past.best and settings.best_checkpoints_days is None:
            assert f"{run}/1/best.safetensors" in after[run]
            assert runs.get(run).best_checkpoint
        if not gone and past.started_from:
            assert f"{run}/0/last.safetensors" in after[run]
        # What the database says is there, and the other way round.
        if not gone:
            rows = str([each for each in after[run] if not isinstance(each, str)])
            assert [each for each in after[run] if isinstance(each, str) and each not in rows] == []
    carry_out(settings, engine, plan)
    assert state(settings, engine) == after
    with reading(engine) as connection:
        stored_now = disk_use(connection).total
    needed = max(
        0 if settings.keep_free_gib is None else settings.keep_free_gib * GIB - (20 * GIB - stored_now),
        0 if settings.most_stored_gib is None else stored_now - settings.most_stored_gib * GIB,
    )
    assert plan.missing == max(0, needed)
    # Only a purged child can leave more to remove.
    if not any(entry.item.kind == "trash" for entry in plan.entries):
        assert planned(settings, engine, Space(20 * GIB - stored_now, stored_now)).entries == ()


@pytest.mark.parametrize(
    "why",
    [
        {"status": "queued"},
        {"status": "running"},
        {"status": "lost"},
        {"ended": 0.03},
        {"named": True},
        {"named_before": True},
        {"evaluated": True},
        {"deleted": 6.9},
        {"status": "cancelled", "attempt": 0, "ended": 0.9},
        {"last": False, "best": False, "saved": False, "predicted": False, "logged": False, "started_from": True},
    ],
)
def test_each_reason_to_keep_a_run_is_enough(
    settings: Settings, engine: Engine, runs: Runs, why: dict[str, Any]
) -> None:
    past, other = Past(**why), add(settings, engine, runs, Past(named=True))
    point(engine, other, Past(named=True), other)
    run = add(settings, engine, runs, past)
    point(engine, run, past, other)
    kinds = ("checkpoints", "best_checkpoints", "predictions", "logs", "spools")
    everything: dict[str, float] = {f"{kind}_days": 0.0 for kind in kinds} | {"keep_free_gib": 100.0}
    settings = settings.model_copy(update=everything)
    assert planned(settings, engine, Space(0, 0)).entries == ()
    # Without it, all of it would go.
    usual = add(settings, engine, runs, Past())
    assert {entry.item.kind for entry in planned(settings, engine, Space(0, 0)).entries} == {*kinds} - {"spools"}
    add(settings, engine, runs, Past(named=True, ended=0.01), parent=usual)
    assert planned(settings, engine, Space(0, 0)).entries == ()


def test_the_only_weights_of_a_run_count_as_its_best(settings: Settings, engine: Engine, runs: Runs) -> None:
    run = add(settings, engine, runs, Past(best=False))
    settings = settings.model_copy(update={"checkpoints_days": 0.0})
    assert [entry.item.files for entry in planned(settings, engine).entries] == [
        ((f"{run}/1/epoch-1.safetensors", BYTES),)
    ]
    settings = settings.model_copy(update={"best_checkpoints_days": 0.0})
    carry_out(settings, engine, planned(settings, engine))
    assert artifacts.find(settings, f"{run}/*/*.safetensors") == []


def test_by_default_only_the_trash_is_emptied(settings: Settings, engine: Engine, runs: Runs) -> None:
    add(settings, engine, runs, Past(ended=4000))
    deleted = add(settings, engine, runs, Past(ended=4000, deleted=7.5))
    (entry,) = planned(settings, engine).entries
    assert (entry.item.kind, entry.item.run, entry.item.number, entry.item.bytes) == ("trash", deleted, 2, 4 * BYTES)
    assert entry.why == "deleted 7.5 days ago, kept for 7 days"
    carry_out(settings, engine, planned(settings, engine))
    assert artifacts.find(settings, f"{deleted}/*") == []
    assert [row[0] for row in runs.sql("SELECT number FROM run")] == [1]


def test_a_run_remembers_what_was_removed_of_it(settings: Settings, engine: Engine, runs: Runs) -> None:
    run = add(settings, engine, runs, Past())
    settings = settings.model_copy(update={"checkpoints_days": 30.0, "logs_days": 100.5})
    carry_out(settings, engine, planned(settings, engine))
    record = runs.get(run)
    assert removals_of(record) == {"checkpoints": "2027-01-15T08:00:00.000Z"}
    sentence = "its checkpoints to resume and fork from were removed on 2027-01-15 to free disk space"
    assert why_removed(record, "best_checkpoints", "checkpoints") == sentence
    assert why_removed(record, "logs") == ""
    assert record.checkpoint == ""
    assert record.best_checkpoint


def test_the_audit_log_says_what_went(settings: Settings, engine: Engine, runs: Runs) -> None:
    add(settings, engine, runs, Past())
    add(settings, engine, runs, Past(saved=False))
    settings = settings.model_copy(update={"checkpoints_days": 30.0, "predictions_days": 30.0})
    carry_out(settings, engine, planned(settings, engine))
    with reading(engine) as connection:
        (event,) = list_events(connection)
    assert (event["who"], event["action"]) == ("Runyard", "retention.apply")
    assert event["detail"] == {"runs": 2, "bytes": 5 * BYTES, "checkpoints": 2, "predictions": 2}


def test_what_becomes_protected_after_the_plan_stays(settings: Settings, engine: Engine, runs: Runs) -> None:
    run = add(settings, engine, runs, Past())
    settings = settings.model_copy(update={"checkpoints_days": 30.0})
    plan = planned(settings, engine)
    assert plan.bytes == 2 * BYTES
    before = state(settings, engine)
    with writing(engine) as connection:
        point_alias(connection, "digits", run, NOW)
    carry_out(settings, engine, plan)
    assert state(settings, engine) == before


def test_after_a_crash_between_database_and_disk_the_files_still_go(
    settings: Settings, engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add(settings, engine, runs, Past(best=False))
    settings = settings.model_copy(update={"checkpoints_days": 30.0})
    retention.apply(settings, engine, planned(settings, engine).entries, NOW)
    assert runs.sql("SELECT path FROM kept_checkpoint") == []
    # It was deleted, but the machine stood still before the database knew.
    artifacts.remove(settings, f"{run}/1/epoch-1.safetensors")
    finish(settings, engine)
    assert runs.sql("SELECT count(*) FROM removal") == [(0,)]
    assert artifacts.find(settings, f"{run}/*/*.safetensors") == [f"{run}/1/last-9.safetensors"]


def test_predictions_that_are_made_again_before_the_old_ones_are_deleted_stay(
    settings: Settings, engine: Engine, runs: Runs
) -> None:
    run = add(settings, engine, runs, Past())
    settings = settings.model_copy(update={"predictions_days": 30.0})
    retention.apply(settings, engine, planned(settings, engine).entries, NOW)
    with writing(engine) as connection:
        job = model_job.add_job(connection, run, "evaluate", {}, NOW)
    with pytest.raises(BlockingIOError, match="has not ended"):
        finish(settings, engine)
    with writing(engine) as connection:
        model_job.end_job(connection, job.id, "succeeded", NOW)
        path = write(settings, f"{run}/1/predictions")
        record_file(connection, run, 1, PredictionsKept(path=path, kind="final", epoch=1, step=9, bytes=BYTES), NOW)
    finish(settings, engine)
    assert artifacts.exists(settings, path)
    assert runs.sql("SELECT count(*) FROM removal") == [(0,)]
    assert planned(settings, engine).entries == ()


def test_the_oldest_go_first_until_there_is_room(settings: Settings, engine: Engine, runs: Runs) -> None:
    old = add(settings, engine, runs, Past(ended=50))
    older = add(settings, engine, runs, Past(ended=60))
    add(settings, engine, runs, Past(ended=40))
    settings = settings.model_copy(update={"keep_free_gib": 10.0})
    plan = planned(settings, engine, Space(int(5.5 * GIB), 0))
    assert [(entry.item.kind, entry.item.run) for entry in plan.entries] == [
        ("checkpoints", older),
        ("predictions", older),
        ("checkpoints", old),
    ]
    assert plan.entries[0].why == "of the oldest; 4.5 GiB more are needed"
    assert plan.missing == 0
    assert planned(settings, engine, Space(0, 0)).missing == 1 * GIB


def test_sizes_that_were_not_recorded_are_measured(settings: Settings, engine: Engine, runs: Runs) -> None:
    run = add(settings, engine, runs, Past(saved=False, predicted=False))
    artifacts.write(settings, f"{run}/1/last-9.safetensors", b"x" * 700)
    runs.set(run, checkpoint=json.dumps({"path": f"{run}/1/last-9.safetensors", "epoch": 1, "step": 9}))
    settings = settings.model_copy(update={"checkpoints_days": 1.0})
    assert planned(settings, engine).bytes == 700


def spool(settings: Settings, name: str, days: float) -> Path:
    settings.spool.mkdir(exist_ok=True)
    file = settings.spool / name
    file.write_bytes(b"x" * 10)
    os.utime(file, (NOW - days * DAY,) * 2)
    return file


def test_unsent_reports_of_ended_runs_go_unless_somebody_reads_them(
    settings: Settings, engine: Engine, runs: Runs
) -> None:
    ended, live = add(settings, engine, runs, Past()), add(settings, engine, runs, Past(status="lost"))
    files = [spool(settings, f"{ended}.2.0", 20), spool(settings, f"{ended}.2.1", 30)]
    kept = [spool(settings, f"{live}.1.0", 30), spool(settings, f"{ended}x.1.0", 2)]
    stranger = spool(settings, "r_gone.1.0", 30)
    settings = settings.model_copy(update={"spools_days": 10.0})
    plan = planned(settings, engine)
    assert [(entry.item.run, entry.item.number, entry.item.bytes) for entry in plan.entries] == [
        ("r_gone", None, 10),
        (ended, 1, 20),
    ]
    retention.apply(settings, engine, plan.entries, NOW)
    with open(stranger, "ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with reading(engine) as connection:
            doomed = list_removals(connection)
        for each in doomed:
            if each.run == "r_gone":
                with pytest.raises(BlockingIOError):
                    retention.delete_file(settings, engine, each)
    finish(settings, engine)
    assert [file.exists() for file in (*files, stranger, *kept)] == [False, False, False, True, True]
    assert retention.apply(settings, engine, plan.entries, NOW)[1] == []


def test_a_commit_of_nothing_writes_nothing(settings: Settings, engine: Engine, runs: Runs) -> None:
    run = add(settings, engine, runs, Past())
    settings = settings.model_copy(update={"checkpoints_days": 30.0})
    plan = planned(settings, engine)
    runs.set(run, checkpoint="", best_checkpoint="")
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM kept_checkpoint"))
        next_commit(connection)
    assert retention.apply(settings, engine, plan.entries, NOW)[1] == []
    with reading(engine) as connection:
        assert list_events(connection) == []
