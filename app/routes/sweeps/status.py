"""A sweep's status: ranked runs, configurations with means, parameter importance, and remaining time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import fmean
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, bindparam, text

from app.analysis.importance import importances
from app.analysis.statistics import Mean, mean_of
from app.contract.command import hide_secrets
from app.contract.errors import NotFound
from app.contract.program_values import template_arguments
from app.contract.spec import RunConfig
from app.contract.sweep import SEED, Direction, SweepSpec
from app.store import sweep as store
from app.store.queue import paused_at
from app.store.sweep import Counts, SweepRecord, SweepRun
from app.store.turn import QueueRules
from app.store.worker import list_workers
from app.sweeps.duration import forecast
from app.web.dependencies import Parts

# The number of runs that /compare draws at once.
MOST_COMPARED = 32
MOST_FORECAST = 200

MOST_NAMES = 8

_LOGGED_NAMES = text(
    "SELECT DISTINCT name FROM metric_series WHERE run IN :runs AND name NOT LIKE 'system/%' ORDER BY name"
).bindparams(bindparam("runs", expanding=True))
_CONFIGS = text("SELECT config FROM run WHERE id IN :runs").bindparams(bindparam("runs", expanding=True))


@dataclass(frozen=True)
class Configuration:
    """Runs that differ only in their seed, and their common values; ``mean``: of the metric over measured runs."""

    values: dict[str, Any]
    runs: list[SweepRun]
    mean: Mean | None


@dataclass(frozen=True)
class SweptCommand:
    """The command of a sweep: ``argv`` with placeholders in braces, and secrets replaced by "…".

    ``seeded``: whether one of the placeholders is the seed. ``program``: the name of the program whose fields are the
    placeholders, "" for a command.
    """

    argv: list[str]
    folder: str
    restarts: int
    seeded: bool
    program: str = ""


def swept_command(record: SweepRecord) -> SweptCommand | None:
    """The command that the runs of a sweep execute; None if they train networks."""
    if (template := record.program) is not None:
        program = template.program
        varied = [*record.fields, SEED] if program.takes_seeds else record.fields
        argv = hide_secrets(template_arguments(program, template.values, varied))
        return SweptCommand(argv, program.folder, program.restarts, program.takes_seeds, program.name)
    if record.command is None:
        return None
    command = record.command.command
    return SweptCommand(
        hide_secrets(command.argv), command.folder, record.command.restarts, SEED in command.placeholders
    )


@dataclass(frozen=True)
class SweepStatus:
    """A sweep as its page and the API show it. ``runs``: by number; ``ranked``: best first.

    ``unmeasured``: which runs of a command have ended without a value of the metric, as a sentence. ``seconds_left``:
    remaining time of its own runs; ``ahead``: number of other runs before them in the queue.
    """

    record: SweepRecord
    spec: SweepSpec
    direction: Direction
    counts: Counts
    runs: list[SweepRun]
    ranked: list[SweepRun]
    configurations: list[Configuration]
    importances: dict[str, float]
    unmeasured: str
    seconds_left: float | None
    ahead: int
    paused: bool

    @property
    def fields(self) -> list[str]:
        """The fields that it varies, except the seed."""
        return self.record.fields

    @property
    def best(self) -> SweepRun | None:
        """The best run so far."""
        return self.ranked[0] if self.ranked and self.ranked[0].value is not None else None

    @property
    def live(self) -> bool:
        """Whether the sweep or any of its runs can still change."""
        return self.record.status == "running" or any(not run.ended for run in self.runs)

    @property
    def several_seeds(self) -> bool:
        """Whether any configuration has more than one seed."""
        return any(len(configuration.runs) > 1 for configuration in self.configurations)

    @property
    def compared(self) -> list[SweepRun]:
        """The runs to compare: all of them, or those of the best configurations if there are too many."""
        if len(self.runs) <= MOST_COMPARED:
            return self.runs
        chosen: list[SweepRun] = []
        for configuration in self.configurations:
            chosen += configuration.runs[: MOST_COMPARED - len(chosen)]
        return chosen[:MOST_COMPARED]

    @property
    def compare_url(self) -> str:
        """The page that compares its runs, or the best of them; seeds are averaged if there are several."""
        runs = quote(",".join(run.id for run in self.compared), safe=",")
        return f"/compare?runs={runs}{'&by=variant' if self.several_seeds else ''}"


def read_status(connection: Connection, parts: Parts, sweep: str) -> SweepStatus:
    """Return a sweep's status. Raises NotFound."""
    record = store.load_sweep(connection, sweep)
    if record is None:
        raise NotFound(f"no sweep '{sweep[:40]}'")
    spec = record.spec
    direction = store.direction_of(spec.metric, spec.direction)
    runs = store.read_runs(connection, sweep, spec.metric, direction)
    configurations = _configurations(runs, direction)
    return SweepStatus(
        record=record,
        spec=spec,
        direction=direction,
        counts=store.count_runs(connection, [sweep])[sweep],
        runs=runs,
        ranked=store.best_first(runs, direction),
        configurations=configurations,
        importances=_importances(record, spec, configurations),
        unmeasured=_unmeasured(connection, record, runs),
        seconds_left=_seconds_left(connection, parts, record, runs),
        ahead=store.count_ahead(connection, sweep, QueueRules.of(parts.settings)),
        paused=paused_at(connection) is not None,
    )


def _importances(record: SweepRecord, spec: SweepSpec, configurations: list[Configuration]) -> dict[str, float]:
    """Compute parameter importances from the runs that succeeded or were pruned."""
    points: list[tuple[dict[str, Any], float]] = []
    for configuration in configurations:
        settled = [
            run.value
            for run in configuration.runs
            if run.value is not None and (run.status == "succeeded" or run.pruned)
        ]
        values = settled if spec.method == "grid" else [fmean(settled)] if settled else []
        points += [(configuration.values, value) for value in values]
    return importances(points, record.fields, spec.method != "grid")


def _unmeasured(connection: Connection, record: SweepRecord, runs: list[SweepRun]) -> str:
    """Say which runs of a command have succeeded without a value of the metric, and what they logged instead."""
    without = [run for run in runs if record.template and run.status == "succeeded" and run.value is None]
    if not without:
        return ""
    metric = record.spec.metric
    some = f"run #{without[0].number}" if len(without) == 1 else f"{len(without):,} runs"
    if any(run.metric is not None for run in without):
        return f"{some} ended without a finite value of {metric}"
    names = list(connection.execute(_LOGGED_NAMES, {"runs": [run.id for run in without[:MOST_FORECAST]]}).scalars())
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    how = "choose one of them as the objective" if record.program else "name one of them with --metric"
    instead = f"logged metrics: {shown}; {how}" if names else "no metric was logged"
    return f"{some} ended without a value of {metric}; {instead}"


def _configurations(runs: list[SweepRun], direction: Direction) -> list[Configuration]:
    """Group runs by configuration, best mean first; configurations without a value last, in creation order."""
    members: dict[str, list[SweepRun]] = {}
    for run in runs:
        members.setdefault(run.configuration, []).append(run)
    configurations = []
    for group in members.values():
        measured = [run.value for run in group if run.value is not None]
        values = {name: value for name, value in group[0].values.items() if name != "seed"}
        configurations.append(Configuration(values, group, mean_of(measured) if measured else None))
    sign = -1.0 if direction == "maximize" else 1.0
    return sorted(configurations, key=lambda each: (each.mean is None, sign * each.mean.mean if each.mean else 0.0))


def _seconds_left(connection: Connection, parts: Parts, record: SweepRecord, runs: list[SweepRun]) -> float | None:
    """Estimate the time until the last run ends, from its own ended runs or from earlier runs; None if unknown."""
    now = time.time()
    left = [run for run in runs if not run.ended]
    to_come = max(0, record.planned - len(runs)) if record.status == "running" else 0
    if not left and not to_come:
        return None
    workers = list_workers(connection, now, parts.settings.lease_seconds)
    slots = max(1, sum(worker.slots for worker in workers))
    durations = [run.trained_seconds for run in runs if run.trained_seconds is not None and run.status != "failed"]
    if durations:
        mean = sum(durations) / len(durations)
        elapsed = [now - run.started_at for run in left if run.started_at is not None]
        total = (len(left) + to_come) * mean - sum(min(mean, seconds) for seconds in elapsed)
        return max(total / slots, 0.0)
    if record.template:
        # How long a script takes is known once one has ended.
        return None
    sample = [run.id for run in left[:MOST_FORECAST]]
    configs = [RunConfig.model_validate_json(row) for row in connection.execute(_CONFIGS, {"runs": sample}).scalars()]
    if not configs:
        return None
    known = forecast(connection, configs, workers).seconds
    return None if known is None else known * (len(left) + to_come) / len(configs)
