"""What users do with a run that has been: train it again, go on with it, fork it, change it, compare it.

Nothing about an ended run changes: each of these makes a new run that knows its parent. What it goes on from is copied
to ``<run>/0/`` of the artifact store, so that it outlives the parent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import Connection, text

from app.actions.runs import find_run, first_target
from app.analysis.reproduction import common_steps, first_difference
from app.contract.catalog import Catalog
from app.contract.errors import Conflict, Invalid, sentence
from app.contract.events import Checkpoint
from app.contract.recipes import ONE_CYCLE_WARMUP
from app.contract.spec import FieldError, RunConfig, RunSpec, SpecError, resolve
from app.services import artifacts, signals
from app.store import lineage, live_change, training_time
from app.store import run as run_store
from app.store.database import next_commit, reading, writing
from app.store.metric import read_curves
from app.store.run import Origin, RunRecord
from app.web.dependencies import Parts

NETWORK_FIELDS = ("family", "size", "dataset", "targets", "options", "auxiliary", "preset")
"""Fields that a fork cannot change: its weights would not fit, or would be of something else."""


# The acts ------------------------------------------------------------------------------------------------------------


def retry(parts: Parts, run_id: str) -> str:
    """Queue an ended run once more, from the start, with exactly the same configuration. Raises NotFound, Conflict.

    What was changed of it while it trained is not repeated.
    """
    run = _ended(parts, run_id)
    return _queue(parts, run, _found(run), "retry")


def verify(parts: Parts, run_id: str) -> str:
    """Queue an ended run once more to be compared with it, from where it began. Raises NotFound, Conflict.

    What resumed another is trained from the start: that it was interrupted must not show. What extended or forked one
    begins from the same checkpoint. What was changed of it while it trained is changed again at the same steps.
    """
    run = _ended(parts, run_id)
    if run.relation not in ("fork", "extend", "verify") or run.parent_step is None:
        return _queue(parts, run, _found(run), "verify")
    with reading(parts.engine) as connection:
        begun = [each for each in lineage.kept(connection, run.id) if each.step == run.parent_step]
    if not begun:
        raise Conflict("the checkpoint that this run was begun from is not known, so that it cannot be trained again")
    return _queue(parts, run, _found(run), "verify", begun[0])


def clone(parts: Parts, catalog: Catalog, run_id: str, changes: dict[str, Any]) -> tuple[RunSpec, RunConfig]:
    """The spec of a run with these changes, null for "as usual", and what it comes to. Raises NotFound, SpecError."""
    run = launched(parts, run_id)
    given = {name: value for name, value in (run.asked_spec | changes).items() if value is not None}
    spec = _spec(given)
    return spec, resolve(spec, catalog)


def launch_clone(parts: Parts, catalog: Catalog, run_id: str, spec: RunSpec, config: RunConfig) -> str:
    """Queue what `clone` gave."""
    run, _ = find_run(parts, run_id)
    asked = spec.model_dump(exclude_unset=True)
    return _queue(parts, run, config, "clone", asked=asked, params=_params(catalog, config))


def resume(parts: Parts, run_id: str, epochs: int | None = None) -> str:
    """Queue a run that goes on from the last checkpoint of an ended one, to the last bit as if it had never stopped.

    More ``epochs`` than it had extend it. A schedule that depends on the number of steps is then that of the new total:
    cosine and one_cycle go on at the rate which a run of so many epochs has there, which is above the one that the
    parent ended with; constant goes on as it was, and plateau at the rate it had come down to.
    Raises NotFound, Conflict, Invalid.
    """
    run = _ended(parts, run_id)
    if not run.checkpoint:
        raise Conflict("this run has no checkpoint to go on from: it ended before the first; retry it instead")
    last, config = Checkpoint.model_validate_json(run.checkpoint), _found(run)
    with reading(parts.engine) as connection:
        ends, planned = course(connection, run)
    as_asked = run.status == "succeeded" and ends < planned and last.epoch >= ends
    config = config.model_copy(update={"epochs": planned})
    if epochs is not None and epochs < config.epochs:
        _refuse("epochs", f"this run has {config.epochs} epochs; it goes on to these, or to more, not to {epochs}")
    if run.status == "succeeded" and last.epoch < config.epochs and not as_asked:
        raise Conflict(
            f"this run stopped early after epoch {last.epoch}, and would again; fork it with another early_stopping"
        )
    if run.status == "succeeded" and (epochs is None or epochs == config.epochs) and not as_asked:
        raise Conflict(f"this run has made all of its {config.epochs} epochs; name more epochs than that to extend it")
    if epochs is None or epochs == config.epochs:
        asked = run.asked_spec if planned == run.config.epochs else run.asked_spec | {"epochs": planned}
        return _queue(parts, run, config, "resume", last, asked=asked)
    changed = config.model_copy(update={"epochs": epochs})
    return _queue(parts, run, changed, "extend", last, asked=run.asked_spec | {"epochs": epochs})


def course(connection: Connection, run: RunRecord) -> tuple[int, int]:
    """After how many epochs a run ends, and how many it is to have, by what was changed of it."""
    return live_change.course(live_change.changes_of(connection, run.id), run.config.epochs)


def fork(parts: Parts, catalog: Catalog, run_id: str, epoch: int, changes: dict[str, Any]) -> str:
    """Queue a run that goes on from the end of an ``epoch`` of another, with changed fields.

    Its schedule is the one it asks for, as if that had been so from the start. Raises NotFound, Conflict, Invalid,
    SpecError.
    """
    run = launched(parts, run_id)
    with reading(parts.engine) as connection:
        kept = {each.epoch: each for each in lineage.kept(connection, run_id) if not each.within}
    if epoch not in kept:
        raise Conflict(_not_kept(run, epoch, sorted(kept)))
    config = _changed(run, changes, catalog)
    if config.epochs <= epoch:
        _refuse("epochs", f"epochs is {config.epochs}, and a fork after epoch {epoch} needs more than {epoch}")
    asked = run.asked_spec | changes
    return _queue(parts, run, config, "fork", kept[epoch], asked=asked)


def _not_kept(run: RunRecord, epoch: int, kept: list[int]) -> str:
    if kept:
        return f"no checkpoint was kept at the end of epoch {epoch}; kept: {', '.join(str(each) for each in kept)}"
    if not run.config.keep_checkpoints:
        return "no checkpoint of this run was kept: it was launched with keep_checkpoints 0"
    return "no checkpoint of this run is kept so far; the first comes with the end of an epoch"


def _changed(run: RunRecord, changes: dict[str, Any], catalog: Catalog) -> RunConfig:
    """A run's configuration with changed fields that leave its network as it is."""
    config = run.config
    before = config.model_dump(exclude_none=True)
    for name in NETWORK_FIELDS:
        if name in changes and changes[name] != before.get(name):
            now = before.get(name, "none")
            _refuse(name, f"a fork goes on with the same network on the same data, so {name} stays {now}; clone it")
    if "recipe" in changes and changes["recipe"] != config.recipe:
        _refuse("recipe", "a fork begins in the middle, so that it takes no other recipe; name the fields to change")
    given = {name: value for name, value in changes.items() if value is not None}
    found = _found(run).model_dump(exclude_none=True)
    if "batch_size" in given:
        found["find_batch"] = False
    if given.get("schedule") == "one_cycle" != config.schedule:
        found["warmup"] = ONE_CYCLE_WARMUP
    return resolve(_spec(found | given), catalog)


def _spec(given: dict[str, Any]) -> RunSpec:
    try:
        return RunSpec.model_validate(given)
    except ValidationError as error:
        raise SpecError([sentence(each) for each in error.errors(include_url=False)]) from error


def _refuse(field_name: str, message: str) -> None:
    raise Invalid(message, [FieldError(field_name, message)])


def _found(run: RunRecord) -> RunConfig:
    """What trains exactly the same: a batch that was found is not looked for again."""
    known = "batch_size_found" in run.environment
    return run.config.model_copy(update={"find_batch": False}) if known else run.config


def launched(parts: Parts, run_id: str) -> RunRecord:
    """A run that can be trained here again. Raises NotFound, and Conflict for one that was trained elsewhere."""
    run, _ = find_run(parts, run_id)
    if run.logged:
        raise Conflict("this run was trained elsewhere, by a script of its own; only that script can train it again")
    return run


def _ended(parts: Parts, run_id: str) -> RunRecord:
    run = launched(parts, run_id)
    if run.live:
        raise Conflict(f"this run is {run.status}; it can be trained again or go on once it has ended")
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
    begin: Checkpoint | None = None,
    *,
    asked: dict[str, Any] | None = None,
    params: int | None = None,
) -> str:
    """Add a run to the queue, with the checkpoint that it begins from, and wake a worker."""
    asked = parent.asked_spec if asked is None else asked
    params = params if relation == "clone" else parent.params
    now = time.time()
    run_id = run_store.new_id(now)
    origin = Origin(parent=parent.id, relation=relation, id=run_id)
    if begin is not None:
        try:
            begin = artifacts.copy_checkpoint(parts.settings, parent, begin, run_id)
        except FileNotFoundError as error:
            raise Conflict("the checkpoint to go on from is no longer in the artifact store") from error
        told = begin.model_copy(update={"kept": False, "best": False})
        origin = Origin(parent.id, relation, begin.step, told.model_dump_json(), id=run_id)
    try:
        with writing(parts.engine) as connection:
            run_store.insert_run(connection, config, asked, params, now, origin=origin)
            commit = next_commit(connection)
            if relation == "verify":
                live_change.repeat(connection, parent.id, run_id, begun=begin is not None)
            if begin is not None:
                lineage.keep(connection, run_id, begin)
                lineage.copy_points(connection, parent.id, run_id, begin.step, commit)
                training_time.inherit(connection, parent.id, run_id)
                live_change.inherit(connection, parent.id, run_id, begin.step, commit, relation != "verify")
                connection.execute(
                    text("UPDATE run SET progress = :progress WHERE id = :run"),
                    {"run": run_id, "progress": to_json(_progress(parent, config, begin)).decode()},
                )
    except BaseException:
        artifacts.remove(parts.settings, run_id)
        raise
    signals.wake_workers(parts.redis, parts.celery, 1)
    signals.announce(parts.redis, commit, run_id, "status")
    return run_id


def _progress(parent: RunRecord, config: RunConfig, begin: Checkpoint) -> dict[str, Any]:
    """How far a run is before it has started; its trainer will say how many steps it has in all."""
    steps, epochs = parent.progress.get("steps") or 0, parent.progress.get("epochs") or parent.config.epochs
    total = round(steps / epochs * config.epochs) if epochs else 0
    return {"epoch": begin.epoch, "epochs": config.epochs, "step": begin.step, "steps": max(total, begin.step)}


# What came of it -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """Whether a rerun came out as the run that it repeats: ``sentence`` for people, the rest for scripts."""

    state: str
    sentence: str
    run: str | None = None
    rerun: str | None = None
    metric: str | None = None
    step: int | None = None


def verdict(parts: Parts, run_id: str) -> Verdict:
    """Of a rerun, or of the last rerun of a run. Raises NotFound."""
    run, _ = find_run(parts, run_id)
    with reading(parts.engine) as connection:
        newest = lineage.newest_rerun(connection, run.id)
        again = run if newest is None else run_store.load_run(connection, newest)
        first = run_store.load_run(connection, again.parent) if again and again.relation == "verify" else None
        if again is None or again.relation != "verify":
            return Verdict("cannot be told", "This run has not been trained again to be compared.")
        if first is None:
            return Verdict("cannot be told", "The run that this one repeats was deleted.", None, again.id)
        who = f"#{again.number} repeats #{first.number}"
        if again.live:
            return Verdict("waiting", f"{who} and is {again.status}.", first.id, again.id)
        one, other = (read_curves(connection, each.id, None, 0) for each in (first, again))
    ids: dict[str, Any] = {"run": first.id, "rerun": again.id}
    common = common_steps(one, other)
    if not common:
        return Verdict("cannot be told", f"{who}, but one of them has no points.", **ids)
    whole = first.status == again.status == "succeeded"
    found = first_difference(one, other, whole=whole)
    if found is not None:
        why = _otherwise(first, again)
        return Verdict("differs", f"{who} and differs {found.words}{why}.", **ids, metric=found.metric, step=found.step)
    if again.status != "succeeded" and first.status == "succeeded":
        words = f"{who}, but {again.status} after step {common:,}, up to which the curves are identical."
        return Verdict("cannot be told", words, **ids)
    upto = "" if whole else f" up to step {common:,}, where the first one ended"
    return Verdict("identical", f"{who}: all curves are identical, to the last bit{upto}.", **ids)


def _otherwise(first: RunRecord, again: RunRecord) -> str:
    """What else was not the same in the two runs, where that may be the reason."""
    named = {"device_name": "device", "threads": "threads", "trained_in": "way", "torch": "torch", "commit": "code"}
    found = [
        f"{words} {first.environment.get(name)} and {again.environment.get(name)}"
        for name, words in named.items()
        if first.environment.get(name) != again.environment.get(name)
    ]
    return f" (trained with {', '.join(found)})" if found else ""


@dataclass(frozen=True)
class AllowedActions:
    """What can be done with a run now. ``forks``: the epochs at whose ends it can be forked."""

    retry: bool
    resume: bool
    extend: bool
    verify: bool
    forks: list[int] = field(default_factory=list)


def allowed_actions(run: RunRecord, kept: list[Checkpoint], course: tuple[int, int] | None = None) -> AllowedActions:
    """Which of the acts a run allows; ``course`` is what its changes have made of its epochs (`store.change`)."""
    ends, planned = course or (run.config.epochs, run.config.epochs)
    ended = not run.live and not run.logged
    checkpoint = Checkpoint.model_validate_json(run.checkpoint) if run.checkpoint else None
    resumable = ended and checkpoint is not None
    early = run.status == "succeeded" and checkpoint is not None and checkpoint.epoch < ends
    forks = [each.epoch for each in kept if not each.within]
    as_planned = resumable and not early and ends < planned
    resume = as_planned or (resumable and run.status != "succeeded")
    return AllowedActions(retry=ended, resume=resume, extend=resumable and not early, verify=ended, forks=forks)
