"""What users do to sweeps, by whichever route they come: preview, launch, stop, extend."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool

from app.actions.bulk import cancel_many, restore_many, wake
from app.contract.catalog import Catalog
from app.contract.errors import Conflict, NotFound
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import MOST_RUNS, SweepSpec
from app.contract.sweep_label import said
from app.services import signals
from app.store import sweep as sweep_store
from app.store.bulk import Cancelled, Which
from app.store.database import reading, writing
from app.store.sweep import SweepRecord, SweepRun, direction_of
from app.store.worker import list_workers
from app.sweeps.duration import Forecast, forecast
from app.sweeps.expand import Expansion, Planned, expand, plan_one, with_seeds
from app.sweeps.insert import insert_planned
from app.web.dependencies import Parts

logger = logging.getLogger("runyard.server")

EXAMPLES = 5
LAUNCH_ATTEMPTS = 20


@dataclass(frozen=True)
class SweepPreview:
    """What would follow from launching a sweep: ``total`` runs, of which ``expansion`` has those known beforehand."""

    expansion: Expansion
    total: int
    forecast: Forecast

    @property
    def examples(self) -> list[str]:
        """A few of its runs in words."""
        return [said(each.values) for each in self.expansion.runs[:EXAMPLES]]


async def check_expansion(parts: Parts, catalog: Catalog, spec: SweepSpec) -> Expansion:
    """The runs of a sweep, those whose network cannot be built left out. Raises SpecError."""
    expansion = await run_in_threadpool(expand, spec, catalog)
    refused: dict[str, str] = {}
    errors: list[FieldError] = []
    kept = []
    for each in expansion.runs:
        network = repr([each.config.family, each.config.size, each.config.dataset, each.config.targets]) + repr(
            [each.config.options, each.config.auxiliary]
        )
        if network not in refused:
            try:
                await parts.inspector.check(each.config)
                refused[network] = ""
            except SpecError as error:
                refused[network] = str(error)
                errors += error.errors
                expansion.left_out.append(f"{said(each.values)}: {error}")
        if not refused[network]:
            kept.append(each)
    if errors and not kept:
        raise SpecError(errors[:10])
    return Expansion(kept, expansion.left_out)


def preview_sweep(parts: Parts, catalog: Catalog, spec: SweepSpec, expansion: Expansion | None = None) -> SweepPreview:
    """How many runs a sweep makes and how long they take. Raises SpecError."""
    expansion = expand(spec, catalog) if expansion is None else expansion
    configs = [each.config for each in expansion.runs]
    total = len(configs)
    if spec.method == "tpe":
        total = spec.configurations * spec.seeds
        # What it will propose is not known yet: a random draw stands for it.
        alike = spec.model_copy(update={"method": "random", "pruning": None})
        configs = [each.config for each in expand(alike, catalog).runs]
    with reading(parts.engine) as connection:
        workers = list_workers(connection, time.time(), parts.settings.lease_seconds)
        found = forecast(connection, configs, workers)
    if configs and found.seconds is not None and total != len(configs):
        found = Forecast(found.seconds * total / len(configs), found.unknown, found.slots)
    return SweepPreview(expansion, total, found)


def launch_sweep(
    parts: Parts, catalog: Catalog, spec: SweepSpec, expansion: Expansion, idempotency_key: str | None = None
) -> str:
    """Queue all runs of a sweep in one transaction, or let its search begin; returns the sweep's id.

    The same ``idempotency_key`` gives back the sweep that it made before. Raises Conflict when that was another one.
    """
    for left in reversed(range(LAUNCH_ATTEMPTS)):
        try:
            sweep, made = _insert(parts, catalog, spec, expansion, idempotency_key)
            break
        except IntegrityError:
            # Another launch took the key, or the number, at the same moment: the next look finds what it made.
            if not left:
                raise
    _announce(parts, made)
    return sweep


def _insert(
    parts: Parts, catalog: Catalog, spec: SweepSpec, expansion: Expansion, idempotency_key: str | None
) -> tuple[str, list[str]]:
    """The sweep and the runs that were made for it now. Raises Conflict."""
    asked = spec.model_dump(mode="json", exclude_unset=True)
    now = time.time()
    with writing(parts.engine) as connection:
        before = sweep_store.find_by_key(connection, idempotency_key) if idempotency_key else None
        if before is not None:
            record = sweep_store.load_sweep(connection, before)
            if record is not None and record.asked != asked:
                words = f"this Idempotency-Key has launched another sweep before, {before}"
                raise Conflict(f"{words}; take a new key for a new sweep")
            return before, []
        contents: dict[str, Any] = {"asked": asked, "left_out": expansion.left_out[:100]}
        planned = len(expansion.runs)
        if spec.method == "tpe":
            planned = spec.configurations * spec.seeds
            contents["families"] = families_of(spec, catalog)
        sweep = sweep_store.insert_sweep(connection, spec.name, contents, planned, now, idempotency_key)
        return sweep, insert_planned(connection, catalog, sweep, spec, expansion.runs, now)


def families_of(spec: SweepSpec, catalog: Catalog) -> dict[str, Any]:
    """The families that a search may propose, as its record keeps them."""
    named = [*spec.grid.get("family", [])]
    if (chosen := spec.space.get("family")) is not None:
        named += getattr(chosen, "choice", [])
    only = {str(name) for name in named} or {str(spec.base.get("family", ""))}
    kept = {name: each for name, each in catalog.families.items() if name in only} or catalog.families
    return {name: each.model_dump(mode="json") for name, each in kept.items()}


def _announce(parts: Parts, made: list[str]) -> None:
    if not made:
        return
    with reading(parts.engine) as connection:
        commit = int(connection.execute(text("SELECT value FROM commit_counter")).scalar_one())
    try:
        signals.publish_commit(parts.redis, commit, {run: {"status"} for run in made})
    except (RedisError, OSError) as error:
        logger.warning("servers were not told of commit %d (%s); they will see it by themselves", commit, error)
    wake(parts)


# Later ---------------------------------------------------------------------------------------------------------------


def find_sweep(parts: Parts, sweep: str) -> SweepRecord:
    """The sweep with this id. Raises NotFound."""
    with reading(parts.engine) as connection:
        record = sweep_store.load_sweep(connection, sweep)
    if record is None:
        raise NotFound(f"no sweep '{sweep[:40]}'")
    return record


def stop_sweep(parts: Parts, sweep: str) -> Cancelled:
    """Make no more runs and stop all that have not ended. Raises NotFound."""
    find_sweep(parts, sweep)
    return cancel_many(parts, Which(sweep=sweep))


def restore_stopped(parts: Parts, sweep: str, runs: list[str]) -> None:
    """Undo the stop of those runs of a sweep that had never started. Raises NotFound, Conflict."""
    record = find_sweep(parts, sweep)
    restore_many(parts, runs)
    with writing(parts.engine) as connection:
        sweep_store.continue_sweep(connection, sweep, record.contents, record.planned)


def extended_spec(record: SweepRecord, more: SweepSpec) -> SweepSpec:
    """What a sweep is asked for with ``more`` seeds, draws or values of the fields that it varies. Raises SpecError."""
    spec = record.spec
    changed = more.model_fields_set
    if not changed & {"seeds", "draws", "grid"}:
        raise SpecError([FieldError("body", "say what to add: more seeds, more draws, or grid with more values")])
    update: dict[str, Any] = {}
    if "seeds" in changed:
        if more.seeds < spec.seeds:
            raise SpecError([FieldError("seeds", f"this sweep has {spec.seeds} seeds; it can only have more")])
        update["seeds"] = more.seeds
    if "draws" in changed and more.draws is not None:
        if spec.method == "grid":
            raise SpecError([FieldError("draws", "a grid has no draws; give it more values or seeds")])
        if more.draws < spec.configurations:
            raise SpecError([FieldError("draws", f"this sweep has {spec.configurations} draws; it can only have more")])
        update["draws"] = more.draws
    if more.grid:
        if spec.method != "grid":
            raise SpecError([FieldError("grid", f"{spec.method} draws from a space; give it more draws or seeds")])
        fields = [*spec.grid, *spec.space]
        for name in more.grid:
            if name not in spec.grid:
                words = f"this sweep does not vary {name[:40]}; it varies {', '.join(fields) or 'nothing but the seed'}"
                raise SpecError([FieldError(name, f"{words}. Another field needs a new sweep")])
        update["grid"] = {name: [*values, *more.grid.get(name, [])] for name, values in spec.grid.items()}
    return SweepSpec.model_validate(spec.model_dump(mode="json", exclude_unset=True) | update)


def missing_runs(spec: SweepSpec, expansion: Expansion, there: list[SweepRun], catalog: Catalog) -> list[Planned]:
    """Those runs of what a sweep is asked for now that it does not have yet."""
    has = {(each.configuration, each.seed) for each in there}
    if spec.method != "tpe":
        wanted = expansion.runs
    else:
        # A search goes on by itself; what it has proposed gets the further seeds.
        firsts = {each.configuration: each for each in reversed(there)}
        ones = [{name: v for name, v in each.values.items() if name != "seed"} for each in reversed(firsts.values())]
        wanted = with_seeds([plan_one(spec, catalog, values) for values in ones], spec.seeds)
    return [each for each in wanted if (sweep_store.key_of(each.values), each.config.seed) not in has]


def extend_sweep(parts: Parts, catalog: Catalog, sweep: str, spec: SweepSpec, expansion: Expansion) -> list[str]:
    """Add the runs that ``spec`` has beyond those that are there; returns their ids. Raises SpecError, NotFound."""
    metric, now = spec.metric, time.time()
    with writing(parts.engine) as connection:
        record = sweep_store.load_sweep(connection, sweep)
        if record is None:
            raise NotFound(f"no sweep '{sweep[:40]}'")
        there = sweep_store.read_runs(connection, sweep, metric, direction_of(metric, spec.direction))
        new = missing_runs(spec, expansion, there, catalog)
        planned = max(spec.configurations * spec.seeds, len(there)) if spec.method == "tpe" else len(there) + len(new)
        if planned > MOST_RUNS:
            words = f"this makes {planned:,} runs, and a sweep makes {MOST_RUNS:,} at most"
            raise SpecError([FieldError("grid", words)])
        contents = {"asked": spec.model_dump(mode="json", exclude_unset=True), "left_out": expansion.left_out[:100]}
        contents["families"] = families_of(spec, catalog) if spec.method == "tpe" else {}
        sweep_store.continue_sweep(connection, sweep, contents, planned)
        made = insert_planned(connection, catalog, sweep, spec, new, now)
    _announce(parts, made)
    return made
