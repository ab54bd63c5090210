"""Actions on an ended run: retry, verify, clone, resume, extend, fork.

An ended run never changes: each action creates a new run with a reference to its parent. The checkpoint that the new
run starts from is copied to ``<run>/0/`` of the artifact store, so that it outlives the parent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import Connection, text

from app.actions.commands import repeat_command
from app.actions.concurrent_launches import Overtaken, until_inserted
from app.actions.runs import find_run, first_target
from app.analysis.reproduction import common_steps, first_difference
from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.errors import Conflict, Invalid, to_field_errors
from app.contract.events import Checkpoint
from app.contract.recipes import ONE_CYCLE_WARMUP
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve
from app.services import artifacts, pubsub
from app.store import lineage, live_change, prediction_file, training_time
from app.store import run as run_store
from app.store.database import next_commit, reading, writing
from app.store.metric import read_curves
from app.store.removal import why_removed
from app.store.run import Origin, RunRecord
from app.web.dependencies import Parts

NETWORK_FIELDS = ("family", "size", "dataset", "targets", "options", "auxiliary", "preset")
"""Fields that a fork cannot change: the parent's weights would not fit, or would belong to another task."""


# Actions -------------------------------------------------------------------------------------------------------------


def retry(parts: Parts, run_id: str, key: str | None = None) -> str:
    """Queue an ended run again, from the start, with exactly the same configuration. Raises NotFound, Conflict.

    Changes made while it trained are not repeated.
    """
    executed, _ = find_run(parts, run_id)
    if executed.executed:
        if executed.live:
            raise Conflict(f"this run has not ended (status: {executed.status}); wait until it ends")
        return repeat_command(parts, executed, "retry", {}, key)
    run = _ended(parts, run_id)
    return _queue(parts, run, _with_found_batch(run), "retry", key=key)


def verify(parts: Parts, run_id: str, key: str | None = None) -> str:
    """Queue a rerun of an ended run, to compare both, from the same starting point. Raises NotFound, Conflict.

    A run that resumed another is trained from the start, since an interruption must not affect the result. A run that
    extended or forked another starts from the same checkpoint. Changes made during training are repeated at the same
    steps.
    """
    run = _ended(parts, run_id)
    if run.relation not in ("fork", "extend", "verify") or run.parent_step is None:
        return _queue(parts, run, _with_found_batch(run), "verify", key=key)
    with reading(parts.engine) as connection:
        saved = lineage.saved_checkpoints(connection, run.id)
        start = [checkpoint for checkpoint in saved if checkpoint.step == run.parent_step]
    if not start:
        raise Conflict("this run cannot be verified: the checkpoint it started from is missing")
    return _queue(parts, run, _with_found_batch(run), "verify", start[0], key=key)


def clone(parts: Parts, catalog: Catalog, run_id: str, changes: dict[str, Any]) -> tuple[RunSpec, RunConfig]:
    """Return a run's spec and configuration with changes; None resets a field to its default.

    Raises NotFound, SpecError.
    """
    run = launched(parts, run_id)
    given = {name: value for name, value in (run.requested_spec | changes).items() if value is not None}
    spec = _spec(given)
    return spec, resolve(spec, catalog)


def launch_clone(
    parts: Parts, catalog: Catalog, run_id: str, spec: RunSpec, config: RunConfig, key: str | None = None
) -> str:
    """Queue the run that `clone` returned."""
    run, _ = find_run(parts, run_id)
    asked = spec.model_dump(exclude_unset=True)
    return _queue(parts, run, config, "clone", asked=asked, params=_params(catalog, config), key=key)


def resume(
    parts: Parts, run_id: str, epochs: int | None = None, worker: str | None = None, key: str | None = None
) -> str:
    """Queue a run that continues from an ended run's last checkpoint, bit for bit as if it had never stopped.

    More ``epochs`` than the original extend it. A schedule that depends on the number of steps then follows the new
    total: cosine and one_cycle continue at the rate that a run of that length has at this point, which is above the
    parent's last rate; constant stays the same, and plateau continues at the rate that it had reached.
    ``worker``: where to train, which needs not be where the original run was trained.
    Raises NotFound, Conflict, Invalid.
    """
    run = _ended(parts, run_id)
    if not run.checkpoint:
        why = why_removed(run, "checkpoints", "best_checkpoints") or "it ended before its first checkpoint"
        raise Conflict(f"this run cannot be resumed: {why}; retry it instead")
    last, config = Checkpoint.model_validate_json(run.checkpoint), _with_found_batch(run)
    with reading(parts.engine) as connection:
        ends, planned = course(connection, run)
    as_planned = run.status == "succeeded" and ends < planned and last.epoch >= ends
    config = config.model_copy(update={"epochs": planned})
    if epochs is not None and epochs < config.epochs:
        _refuse("epochs", f"epochs must be at least {config.epochs}, this run's current number, not {epochs}")
    if run.status == "succeeded" and last.epoch < config.epochs and not as_planned:
        raise Conflict(
            f"this run was stopped by early stopping after epoch {last.epoch} and would stop again;"
            " fork it with a different early_stopping value"
        )
    if run.status == "succeeded" and (epochs is None or epochs == config.epochs) and not as_planned:
        raise Conflict(f"this run has completed all of its epochs ({config.epochs}); set more epochs to extend it")
    asked = run.requested_spec
    if worker is not None:
        config, asked = config.model_copy(update={"worker": worker}), asked | {"worker": worker}
    if epochs is None or epochs == config.epochs:
        asked = asked if planned == run.config.epochs else asked | {"epochs": planned}
        return _queue(parts, run, config, "resume", last, asked=asked, key=key)
    changed = config.model_copy(update={"epochs": epochs})
    return _queue(parts, run, changed, "extend", last, asked=asked | {"epochs": epochs}, key=key)


def course(connection: Connection, run: RunRecord) -> tuple[int, int]:
    """Return the number of epochs after which a run ends and its planned number, including changes made live."""
    return live_change.epoch_plan(live_change.list_changes(connection, run.id), run.config.epochs)


def fork(
    parts: Parts, catalog: Catalog, run_id: str, epoch: int, changes: dict[str, Any], key: str | None = None
) -> str:
    """Queue a run that continues from the end of an ``epoch`` of another run, with changed fields.

    Its learning rate is what the changed schedule gives for this epoch, as if it had applied from the start. Raises
    NotFound, Conflict, Invalid, SpecError.
    """
    run = launched(parts, run_id)
    with reading(parts.engine) as connection:
        checkpoints = lineage.saved_checkpoints(connection, run_id)
        saved = {checkpoint.epoch: checkpoint for checkpoint in checkpoints if not checkpoint.within}
    if epoch not in saved:
        raise Conflict(_no_checkpoint(run, epoch, sorted(saved)))
    config = _changed(run, changes, catalog)
    if config.epochs <= epoch:
        _refuse("epochs", f"epochs must be greater than {epoch} for a fork after epoch {epoch}, not {config.epochs}")
    asked = run.requested_spec | changes
    return _queue(parts, run, config, "fork", saved[epoch], asked=asked, key=key)


def _no_checkpoint(run: RunRecord, epoch: int, epochs: list[int]) -> str:
    if epochs:
        return f"no checkpoint at epoch {epoch}; epochs with a checkpoint: {', '.join(str(saved) for saved in epochs)}"
    if why := why_removed(run, "checkpoints"):
        return f"this run cannot be forked: {why}; clone it instead"
    if not run.config.keep_checkpoints:
        return "this run has no checkpoints: it was launched with keep_checkpoints=0"
    return "this run has no checkpoint to fork from; the first one is saved at the end of an epoch"


def _changed(run: RunRecord, changes: dict[str, Any], catalog: Catalog) -> RunConfig:
    """Return a run's configuration with changes that do not affect its network."""
    config = run.config
    before = config.model_dump(exclude_none=True)
    for name in NETWORK_FIELDS:
        if name in changes and changes[name] != before.get(name):
            current = before.get(name, "none")
            current = ", ".join(current) if isinstance(current, list) else current
            _refuse(
                name, f"a fork keeps the network and the data, so {name} must stay '{current}'; clone the run instead"
            )
    if "recipe" in changes and changes["recipe"] != config.recipe:
        _refuse("recipe", "a fork cannot change the recipe; change individual fields instead")
    given = {name: value for name, value in changes.items() if value is not None}
    base = _with_found_batch(run).model_dump(exclude_none=True)
    if "batch_size" in given:
        base["find_batch"] = False
    if given.get("schedule") == "one_cycle" != config.schedule:
        base["warmup"] = ONE_CYCLE_WARMUP
    return resolve(_spec(base | given), catalog)


def _spec(given: dict[str, Any]) -> RunSpec:
    try:
        return RunSpec.model_validate(given)
    except ValidationError as error:
        raise SpecError(to_field_errors(error.errors(include_url=False))) from error


def _refuse(field_name: str, message: str) -> None:
    raise Invalid(message, [FieldError(field_name, message)])


def _with_found_batch(run: RunRecord) -> RunConfig:
    """Return the configuration that trains exactly the same: with the batch size that find_batch found."""
    known = "batch_size_found" in run.environment
    return run.config.model_copy(update={"find_batch": False}) if known else run.config


def launched(parts: Parts, run_id: str) -> RunRecord:
    """Return a run that Runyard can train again. Raises NotFound, and Conflict for a run that was trained elsewhere."""
    run, _ = find_run(parts, run_id)
    if run.executed:
        raise Conflict("this run executes a command, so it can only be retried or cloned")
    if run.logged:
        raise Conflict("this run was logged by an external script, so Runyard cannot run it again")
    return run


def _ended(parts: Parts, run_id: str) -> RunRecord:
    run = launched(parts, run_id)
    if run.live:
        raise Conflict(f"this run has not ended (status: {run.status}); wait until it ends")
    return run


def _params(catalog: Catalog, config: RunConfig) -> int | None:
    family = catalog.families.get(config.family)
    size = family.size(config.size) if family else None
    plain = not config.options and not config.auxiliary and config.targets == [first_target(config.dataset)]
    return size.params.get(config.dataset) if size is not None and plain else None


def _queue(
    parts: Parts,
    parent: RunRecord,
    config: RunConfig,
    relation: str,
    start: Checkpoint | None = None,
    *,
    asked: dict[str, Any] | None = None,
    params: int | None = None,
    key: str | None = None,
) -> str:
    """Add a run to the queue, with the checkpoint that it starts from, and wake a worker.

    A repeated idempotency ``key`` returns the run that it made before. Raises Conflict if that was a different one.
    """
    asked = parent.requested_spec if asked is None else asked
    params = params if relation == "clone" else parent.params

    def insert() -> str:
        made = _made_before(parts, parent, relation, asked, start, key)
        return made or _insert(parts, parent, config, relation, start, asked, params, key)

    return until_inserted(insert)


def _made_before(
    parts: Parts, parent: RunRecord, relation: str, asked: dict[str, Any], start: Checkpoint | None, key: str | None
) -> str | None:
    if key is None:
        return None
    with reading(parts.engine) as connection:
        known = connection.execute(text("SELECT id FROM run WHERE idempotency_key = :key"), {"key": key}).scalar()
        run = run_store.load_run(connection, str(known), deleted=True) if known is not None else None
    if run is None:
        return None
    same = (run.parent, run.relation, run.parent_step) == (parent.id, relation, start.step if start else None)
    if not same or run.requested_spec != asked:
        raise Conflict(f"this Idempotency-Key already launched a different run, {run.id}; use a new key")
    return str(run.id)


def _insert(
    parts: Parts,
    parent: RunRecord,
    config: RunConfig,
    relation: str,
    start: Checkpoint | None,
    asked: dict[str, Any],
    params: int | None,
    key: str | None,
) -> str:
    now = time.time()
    run_id = run_store.new_id(now)
    origin = Origin(parent=parent.id, relation=relation, id=run_id)
    inherited = None
    if start is not None:
        try:
            start = artifacts.copy_checkpoint(parts.settings, parent, start, run_id)
        except FileNotFoundError as error:
            raise Conflict("the checkpoint to start from is no longer in the artifact store") from error
        current = start.model_copy(update={"kept": False, "best": False})
        origin = Origin(parent.id, relation, start.step, current.model_dump_json(), id=run_id)
    try:
        if start is not None and config.keep_predictions:
            inherited = parts.predictions.inherit(parent.id, run_id, start.epoch)
        with writing(parts.engine) as connection:
            if config.dataset not in DATASETS:
                raise Conflict(f"dataset {config.dataset} was deleted; restore it, or launch the run on another one")
            if run_store.insert_run(connection, config, asked, params, now, key, origin) != run_id:
                raise Overtaken
            commit = next_commit(connection)
            if relation == "verify":
                live_change.repeat(connection, parent.id, run_id, from_checkpoint=start is not None)
            if start is not None:
                lineage.save_checkpoint(connection, run_id, start)
                lineage.copy_points(connection, parent.id, run_id, start.step, commit)
                if inherited is not None:
                    prediction_file.record_file(connection, run_id, 0, inherited, now)
                training_time.inherit(connection, parent.id, run_id)
                live_change.inherit(connection, parent.id, run_id, start.step, commit, relation != "verify")
                connection.execute(
                    text("UPDATE run SET progress = :progress WHERE id = :run"),
                    {"run": run_id, "progress": to_json(_progress(parent, config, start)).decode()},
                )
    except BaseException:
        # Whatever ended the transaction, an interrupt too: no run owns the copied checkpoint now.
        artifacts.remove(parts.settings, run_id)
        raise
    pubsub.wake_workers(parts.redis, parts.celery, 1)
    pubsub.announce(parts.redis, commit, run_id, "status")
    return run_id


def _progress(parent: RunRecord, config: RunConfig, start: Checkpoint) -> dict[str, Any]:
    """Return a run's progress before it starts; its trainer reports the exact total of steps later."""
    steps, epochs = parent.progress.get("steps") or 0, parent.progress.get("epochs") or parent.config.epochs
    total = round(steps / epochs * config.epochs) if epochs else 0
    return {"epoch": start.epoch, "epochs": config.epochs, "step": start.step, "steps": max(total, start.step)}


# Verdict -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """Whether a rerun reproduced its original: ``sentence`` for people, the rest for scripts."""

    state: str
    sentence: str
    run: str | None = None
    rerun: str | None = None
    metric: str | None = None
    step: int | None = None


def verdict(parts: Parts, run_id: str) -> Verdict:
    """Return the verdict of a rerun, or of the latest rerun of a run. Raises NotFound."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        newest = lineage.newest_rerun(connection, run.id)
        rerun = run if newest is None else run_store.load_run(connection, newest)
        original = run_store.load_run(connection, rerun.parent) if rerun and rerun.relation == "verify" else None
        if rerun is None or rerun.relation != "verify":
            return Verdict("inconclusive", "This run has no rerun to compare with.")
        if original is None:
            return Verdict("inconclusive", "The original run was deleted.", None, rerun.id)
        pair = f"#{rerun.number} reruns #{original.number}"
        if rerun.live:
            return Verdict("waiting", f"{pair} and has not ended yet (status: {rerun.status}).", original.id, rerun.id)
        expected, actual = (read_curves(connection, record.id, None, 0) for record in (original, rerun))
    ids: dict[str, Any] = {"run": original.id, "rerun": rerun.id}
    common = common_steps(expected, actual)
    if not common:
        return Verdict("inconclusive", f"{pair}, but one of them has no points.", **ids)
    whole = original.status == rerun.status == "succeeded"
    difference = first_difference(expected, actual, whole=whole)
    if difference is not None:
        description = f"{pair}; {difference.words}{_environment_differences(original, rerun)}."
        return Verdict("differs", description, **ids, metric=difference.metric, step=difference.step)
    if rerun.status != "succeeded" and original.status == "succeeded":
        description = (
            f"{pair}, but ended at step {common:,} ({rerun.status}); the curves are bit-identical up to there."
        )
        return Verdict("inconclusive", description, **ids)
    limit = "" if whole else f" up to step {common:,}, where the original ended"
    return Verdict("identical", f"{pair}; all curves are bit-identical{limit}.", **ids)


def _environment_differences(original: RunRecord, rerun: RunRecord) -> str:
    """Return the differences between the environments of two runs, as the possible reason."""
    labels = {"device_name": "device", "threads": "threads", "trained_in": "mode", "torch": "torch", "commit": "code"}
    differences = [
        f"{label} {original.environment.get(name)} vs. {rerun.environment.get(name)}"
        for name, label in labels.items()
        if original.environment.get(name) != rerun.environment.get(name)
    ]
    return f" (environments differ: {', '.join(differences)})" if differences else ""


@dataclass(frozen=True)
class AllowedActions:
    """The actions that a run allows now. ``forks``: the epochs after which it can be forked."""

    retry: bool
    resume: bool
    extend: bool
    verify: bool
    forks: list[int] = field(default_factory=list)


def allowed_actions(run: RunRecord, kept: list[Checkpoint], course: tuple[int, int] | None = None) -> AllowedActions:
    """Return the actions that a run allows; ``course``: its last and planned epochs after live changes."""
    ends, planned = course or (run.config.epochs, run.config.epochs)
    ended = not run.live and not run.logged
    checkpoint = Checkpoint.model_validate_json(run.checkpoint) if run.checkpoint else None
    resumable = ended and checkpoint is not None
    early = run.status == "succeeded" and checkpoint is not None and checkpoint.epoch < ends
    forks = [saved.epoch for saved in kept if not saved.within]
    as_planned = resumable and not early and ends < planned
    resume = as_planned or (resumable and run.status != "succeeded")
    retry = ended or (run.executed and not run.live)
    return AllowedActions(retry=retry, resume=resume, extend=resumable and not early, verify=ended, forks=forks)
