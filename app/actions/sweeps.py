"""Actions on sweeps, shared by the API and the pages: preview, launch, stop, extend."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import cancel_many, restore_many, wake
from app.actions.concurrent_launches import until_inserted
from app.contract.catalog import Catalog
from app.contract.errors import Conflict, NotFound
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import MOST_RUNS, SweepSpec
from app.contract.sweep_label import describe_values
from app.services import pubsub
from app.store import sweep as sweep_store
from app.store.bulk import Cancelled, RunSelection
from app.store.database import reading, writing
from app.store.sweep import SweepRecord, SweepRun, direction_of
from app.store.worker import list_workers
from app.sweeps.duration import Forecast, forecast
from app.sweeps.expand import Expansion, Planned, expand, plan_one, with_seeds
from app.sweeps.insert import insert_planned
from app.sweeps.script_trials import script_trials
from app.sweeps.trials import NetworkTrials, PlannedTrial, Trials
from app.web.dependencies import Parts

logger = logging.getLogger("runyard.server")

EXAMPLES = 5


@dataclass(frozen=True)
class SweepPreview:
    """A sweep before its launch: ``total`` runs, of which ``expansion`` has those known beforehand."""

    expansion: Expansion
    total: int
    forecast: Forecast

    @property
    def examples(self) -> list[str]:
        """Labels of its first runs."""
        return [describe_values(run.values) for run in self.expansion.runs[:EXAMPLES]]


async def check_expansion(parts: Parts, catalog: Catalog, spec: SweepSpec) -> Expansion:
    """Expand a sweep into its runs, skipping those whose network cannot be built. Raises SpecError."""
    expansion = await run_in_threadpool(expand, spec, catalog)
    refusals: dict[str, str] = {}
    errors: list[FieldError] = []
    valid = []
    for run in expansion.runs:
        network = repr([run.config.family, run.config.size, run.config.dataset, run.config.targets]) + repr(
            [run.config.options, run.config.auxiliary]
        )
        if network not in refusals:
            try:
                await parts.inspector.check(run.config)
                refusals[network] = ""
            except SpecError as error:
                refusals[network] = str(error)
                errors += error.errors
                expansion.left_out.append(f"{describe_values(run.values)}: {error}")
        if not refusals[network]:
            valid.append(run)
    if errors and not valid:
        raise SpecError(errors[:10])
    return Expansion(valid, expansion.left_out)


def preview_sweep(parts: Parts, catalog: Catalog, spec: SweepSpec, expansion: Expansion | None = None) -> SweepPreview:
    """Return the number of runs of a sweep and their duration. Raises SpecError."""
    expansion = expand(spec, catalog) if expansion is None else expansion
    configs = [run.config for run in expansion.runs]
    total = len(configs)
    if spec.method == "tpe":
        total = spec.configurations * spec.seeds
        # The search's proposals are not known yet: random draws stand in for them.
        random_spec = spec.model_copy(update={"method": "random", "pruning": None})
        configs = [run.config for run in expand(random_spec, catalog).runs]
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        duration = forecast(connection, configs, workers)
    if configs and duration.seconds is not None and total != len(configs):
        duration = Forecast(duration.seconds * total / len(configs), duration.unknown, duration.slots)
    return SweepPreview(expansion, total, duration)


def launch_sweep(
    parts: Parts, catalog: Catalog, spec: SweepSpec, expansion: Expansion, idempotency_key: str | None = None
) -> str:
    """Queue all runs of a sweep in one transaction, or start its search; returns the sweep's ID.

    A repeated ``idempotency_key`` returns the sweep that it launched before. Raises Conflict if that sweep had another
    spec.
    """
    sweep, made = until_inserted(lambda: _insert(parts, catalog, spec, expansion, idempotency_key))
    announce_made(parts, made)
    return sweep


def _insert(
    parts: Parts, catalog: Catalog, spec: SweepSpec, expansion: Expansion, idempotency_key: str | None
) -> tuple[str, list[str]]:
    """Insert a sweep; returns its ID and its new runs. Raises Conflict."""
    asked = spec.model_dump(mode="json", exclude_unset=True)
    now = time.time()
    with writing(parts.engine) as connection:
        before = sweep_store.find_by_key(connection, idempotency_key) if idempotency_key else None
        if before is not None:
            record = sweep_store.load_sweep(connection, before)
            if record is not None and record.asked != asked:
                raise Conflict(f"this Idempotency-Key already launched a different sweep, {before}; use a new key")
            return before, []
        contents: dict[str, Any] = {"asked": asked, "left_out": expansion.left_out[:100]}
        planned = len(expansion.runs)
        if spec.method == "tpe":
            planned = spec.configurations * spec.seeds
            contents["families"] = families_of(spec, catalog)
        sweep = sweep_store.insert_sweep(connection, spec.name, contents, planned, now, idempotency_key)
        return sweep, insert_planned(connection, catalog, sweep, spec, expansion.runs, now)


def families_of(spec: SweepSpec, catalog: Catalog) -> dict[str, Any]:
    """Return the families that a search may propose, as stored in the sweep's record."""
    names = [*spec.grid.get("family", [])]
    if (chosen := spec.space.get("family")) is not None:
        names += getattr(chosen, "choice", [])
    only = {str(name) for name in names} or {str(spec.base.get("family", ""))}
    families = {name: family for name, family in catalog.families.items() if name in only} or catalog.families
    return {name: family.model_dump(mode="json") for name, family in families.items()}


def announce_made(parts: Parts, made: list[str]) -> None:
    """Tell viewers and workers about new runs of a sweep."""
    if not made:
        return
    with reading(parts.engine) as connection:
        commit = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
    try:
        pubsub.publish_commit(parts.redis, commit, {run: {"status"} for run in made})
    except (RedisError, OSError) as error:
        logger.warning("could not notify servers of commit %d (%s); they will pick it up by polling", commit, error)
    wake(parts)


# Existing sweeps -----------------------------------------------------------------------------------------------------


def find_sweep(parts: Parts, sweep: str) -> SweepRecord:
    """Return the sweep with this ID. Raises NotFound."""
    with reading(parts.engine) as connection:
        record = sweep_store.load_sweep(connection, sweep)
    if record is None:
        raise NotFound(f"no sweep '{sweep[:40]}'")
    return record


def stop_sweep(parts: Parts, sweep: str) -> Cancelled:
    """Stop a sweep: create no more runs and cancel all that have not ended. Raises NotFound."""
    find_sweep(parts, sweep)
    return cancel_many(parts, RunSelection(sweep=sweep))


def restore_stopped(parts: Parts, sweep: str, runs: list[str]) -> None:
    """Restore the runs of a stopped sweep that had not started. Raises NotFound, Conflict."""
    record = find_sweep(parts, sweep)
    restore_many(parts, runs)
    with writing(parts.engine) as connection:
        sweep_store.continue_sweep(connection, sweep, record.contents, record.planned)


def extended_spec(record: SweepRecord, more: SweepSpec) -> SweepSpec:
    """Return a sweep's spec with ``more`` seeds, draws or values of the fields that it varies. Raises SpecError."""
    spec = record.spec
    changed = more.model_fields_set
    if not changed & {"seeds", "draws", "grid"}:
        raise SpecError(
            [FieldError("body", "nothing to add; set a larger number of seeds or draws, or more values in grid")]
        )
    update: dict[str, Any] = {}
    if "seeds" in changed:
        if more.seeds < spec.seeds:
            message = f"seeds can only be increased; this sweep already has {spec.seeds}"
            raise SpecError([FieldError("seeds", message)])
        update["seeds"] = more.seeds
    if "draws" in changed and more.draws is not None:
        if spec.method == "grid":
            raise SpecError([FieldError("draws", "a grid sweep has no draws; add values or seeds instead")])
        if more.draws < spec.configurations:
            message = f"draws can only be increased; this sweep already has {spec.configurations}"
            raise SpecError([FieldError("draws", message)])
        update["draws"] = more.draws
    if more.grid:
        if record.command is not None:
            message = "the values of a command are signed; launch another sweep with `runyard exec --sweep` for others"
            raise SpecError([FieldError("grid", message)])
        if spec.method != "grid":
            message = f"a {spec.method} sweep has no grid to extend; add draws or seeds instead"
            raise SpecError([FieldError("grid", message)])
        fields = [*spec.grid, *spec.space]
        for name in more.grid:
            if name not in spec.grid:
                varied = ", ".join(fields) or "only the seed"
                message = (
                    f"this sweep does not vary {name[:40]}; it varies {varied}; launch a new sweep for other fields"
                )
                raise SpecError([FieldError(name, message)])
        update["grid"] = {name: [*values, *more.grid.get(name, [])] for name, values in spec.grid.items()}
    return SweepSpec.model_validate(spec.model_dump(mode="json", exclude_unset=True) | update)


async def extend_by(parts: Parts, catalog: Catalog, sweep: str, more: SweepSpec) -> None:
    """Extend a sweep by ``more`` seeds, draws or values. Raises SpecError, NotFound."""
    record = await run_in_threadpool(find_sweep, parts, sweep)
    spec = extended_spec(record, more)
    expansion = Expansion() if record.template else await check_expansion(parts, catalog, spec)
    await run_in_threadpool(extend_sweep, parts, catalog, sweep, spec, expansion)


def missing_runs(spec: SweepSpec, expansion: Expansion, existing: list[SweepRun], catalog: Catalog) -> list[Planned]:
    """Return the runs of an extended spec that the sweep does not have yet."""
    keys = {(run.configuration, run.seed) for run in existing}
    if spec.method != "tpe":
        wanted = expansion.runs
    else:
        # A search proposes further configurations by itself; the existing ones get the additional seeds.
        firsts = {run.configuration: run for run in reversed(existing)}
        points = [{name: v for name, v in run.values.items() if name != "seed"} for run in reversed(firsts.values())]
        wanted = with_seeds([plan_one(spec, catalog, values) for values in points], spec.seeds)
    return [run for run in wanted if (sweep_store.key_of(run.values), run.config.seed) not in keys]


def extend_sweep(parts: Parts, catalog: Catalog, sweep: str, spec: SweepSpec, expansion: Expansion) -> list[str]:
    """Add the runs of ``spec`` that do not exist yet; returns their IDs. Raises SpecError, NotFound."""
    metric, now = spec.metric, time.time()
    with writing(parts.engine) as connection:
        record = sweep_store.load_sweep(connection, sweep)
        if record is None:
            raise NotFound(f"no sweep '{sweep[:40]}'")
        existing = sweep_store.read_runs(connection, sweep, metric, direction_of(metric, spec.direction))
        trials, new = _missing_trials(record, spec, expansion, existing, catalog)
        planned = len(existing) + len(new)
        if spec.method == "tpe":
            planned = max(spec.configurations * spec.seeds, len(existing))
        if planned > MOST_RUNS:
            message = f"the sweep would have {planned:,} runs; the maximum is {MOST_RUNS:,}"
            raise SpecError([FieldError("grid", message)])
        contents: dict[str, Any] = {"asked": spec.model_dump(mode="json", exclude_unset=True)}
        contents |= {"left_out": expansion.left_out[:100], "template": record.template}
        contents["families"] = families_of(spec, catalog) if spec.method == "tpe" and not record.template else {}
        sweep_store.continue_sweep(connection, sweep, contents, planned)
        made = trials.insert(connection, sweep, new, now)
    announce_made(parts, made)
    return made


def _missing_trials(
    record: SweepRecord, spec: SweepSpec, expansion: Expansion, existing: list[SweepRun], catalog: Catalog
) -> tuple[Trials, Sequence[PlannedTrial]]:
    """The runs that a sweep with this spec does not have yet, and how they are created. Raises SpecError."""
    if (scripts := script_trials(record, spec)) is not None:
        return scripts, scripts.missing(existing)
    return NetworkTrials(spec, catalog), missing_runs(spec, expansion, existing, catalog)
