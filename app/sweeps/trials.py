"""The two kinds of runs that a sweep can have: networks of the catalog, and a signed command with values.

The sweep driver and the actions on sweeps treat both alike; another kind needs another implementation of Trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from sqlalchemy import Connection

from app.contract.catalog import Catalog
from app.contract.command import CommandRequest
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import MOST_RUNS, SEED, Choice, Range, SweepSpec
from app.store.command import ExperimentDeleted, NewCommand, find_or_insert_experiment, insert_command
from app.store.run import Origin
from app.store.sweep import SweepRecord, SweepRun, key_of
from app.store.worker import WorkerRecord
from app.sweeps.draw import Values, draw_distinct
from app.sweeps.expand import plan_one, space_of, with_seeds
from app.sweeps.insert import insert_planned

FIRST_SEED = 1


class PlannedTrial(Protocol):
    """A run to create."""

    @property
    def values(self) -> Values:
        """The values that the sweep chose for it."""


class Trials(Protocol):
    """How a sweep plans and creates its runs."""

    @property
    def space(self) -> dict[str, Choice | Range]:
        """What a search can vary, by field."""

    @property
    def seed(self) -> int:
        """The seed of the search."""

    def plan(self, values: Values) -> Any:
        """A PlannedTrial with these values. Raises SpecError if it cannot be made."""

    def repeat(self, planned: Sequence[Any]) -> list[Any]:
        """Each PlannedTrial with every seed of the sweep."""

    def insert(self, connection: Connection, sweep: str, planned: Sequence[Any], now: float) -> list[str]:
        """Queue these PlannedTrials; returns their ids. Raises SpecError."""

    def slots(self, workers: Sequence[WorkerRecord]) -> int:
        """How many of them these workers can execute at the same time."""


@dataclass(frozen=True)
class NetworkTrials:
    """Runs that train a network of the catalog."""

    spec: SweepSpec
    catalog: Catalog

    @property
    def space(self) -> dict[str, Choice | Range]:
        """See Trials."""
        return space_of(self.spec, self.catalog)

    @property
    def seed(self) -> int:
        """See Trials."""
        return int(self.spec.base.get("seed") or FIRST_SEED)

    def plan(self, values: Values) -> Any:
        """See Trials."""
        return plan_one(self.spec, self.catalog, values)

    def repeat(self, planned: Sequence[Any]) -> list[Any]:
        """See Trials."""
        return list(with_seeds(planned, self.spec.seeds))

    def insert(self, connection: Connection, sweep: str, planned: Sequence[Any], now: float) -> list[str]:
        """See Trials."""
        return insert_planned(connection, self.catalog, sweep, self.spec, planned, now)

    def slots(self, workers: Sequence[WorkerRecord]) -> int:
        """See Trials."""
        return sum(worker.slots for worker in workers)


@dataclass(frozen=True)
class PlannedCommand:
    """A run that executes a sweep's command with these values."""

    values: Values


@dataclass(frozen=True)
class CommandTrials:
    """Runs that execute a signed command with placeholders, each with other values.

    Every value is one of those that are signed, so a sweep can start nothing that its user did not allow.
    """

    spec: SweepSpec
    request: CommandRequest

    @property
    def space(self) -> dict[str, Choice | Range]:
        """See Trials. Without the seed, which is no property of a configuration."""
        placeholders = self.request.command.placeholders.items()
        return {
            name: Choice(choice=_values(allowed)) if isinstance(allowed, Choice) else allowed
            for name, allowed in placeholders
            if name != SEED
        }

    @property
    def seed(self) -> int:
        """See Trials."""
        return FIRST_SEED

    @property
    def seeded(self) -> bool:
        """Whether the command takes a seed."""
        return SEED in self.request.command.placeholders

    def expand(self) -> list[PlannedCommand]:
        """The runs of a grid or of random draws with all seeds; none for a search. Raises SpecError."""
        self._check()
        if self.spec.method == "tpe":
            return []
        if self.spec.method == "grid":
            planned = [self.plan(values) for values in self._grid()]
        else:
            planned = list(
                draw_distinct(
                    self.space, self.seed, self.spec.configurations, self.plan, lambda found: key_of(found.values)
                )
            )
        return self.repeat(planned)

    def missing(self, existing: Sequence[SweepRun]) -> list[PlannedCommand]:
        """The runs of an extended sweep that it does not have yet; the next ones of a search come from the search."""
        wanted = self.expand()
        if self.spec.method == "tpe":
            wanted = self.repeat([PlannedCommand(values) for values in _configurations(existing)])
        keys = {_full_key(run.values) for run in existing}
        return [planned for planned in wanted if _full_key(planned.values) not in keys]

    def plan(self, values: Values) -> PlannedCommand:
        """See Trials. Raises SpecError if a value is not signed."""
        return self._signed(values | {SEED: FIRST_SEED} if self.seeded else values)

    def repeat(self, planned: Sequence[Any]) -> list[Any]:
        """See Trials. Every configuration comes once before any repeats. Raises SpecError if a seed is not signed."""
        if not self.seeded:
            return list(planned)
        seeds = range(FIRST_SEED, FIRST_SEED + self.spec.seeds)
        return [self._signed(each.values | {SEED: seed}) for seed in seeds for each in planned]

    def insert(self, connection: Connection, sweep: str, planned: Sequence[Any], now: float) -> list[str]:
        """See Trials."""
        request = self.request
        try:
            experiment, family = find_or_insert_experiment(connection, request.experiment, now)
        except ExperimentDeleted as error:
            message = f"experiment '{request.experiment}' is in the trash; restore it, or use another"
            raise SpecError([FieldError("experiment", message)]) from error
        fields = request.model_dump(exclude={"command", "experiment"})
        made = []
        for each in planned:
            command = request.command.model_copy(update={"values": each.values})
            new = NewCommand(command=command, experiment=experiment, family=family, **fields)
            made.append(insert_command(connection, new, now, origin=Origin(sweep=sweep, sweep_values=each.values)))
        return made

    def slots(self, workers: Sequence[WorkerRecord]) -> int:
        """See Trials."""
        return sum(each.slots for each in workers if each.takes(self.request.device, self.request.worker))

    def _signed(self, values: Values) -> PlannedCommand:
        try:
            self.request.command.filled(values)
        except ValueError as error:
            raise SpecError([FieldError("command", str(error))]) from error
        return PlannedCommand(values)

    def _check(self) -> None:
        try:
            self.request.command.check_placeholders()
        except ValueError as error:
            raise SpecError([FieldError("command", str(error))]) from error
        if self.spec.seeds > 1 and not self.seeded:
            message = "several seeds need a placeholder {seed} in the command; without it, they would all be the same"
            raise SpecError([FieldError("seeds", message)])
        if self.spec.method != "grid" and not self.space:
            raise SpecError([FieldError("method", f"method {self.spec.method} needs at least one placeholder")])
        total = self._configurations * self.spec.seeds
        if total > MOST_RUNS:
            message = f"this sweep would have {total:,} runs; the maximum is {MOST_RUNS:,}"
            raise SpecError([FieldError("command", message)])

    @property
    def _configurations(self) -> int:
        if self.spec.method != "grid":
            return self.spec.configurations
        for name, allowed in self.space.items():
            if isinstance(allowed, Range) and allowed.step is None:
                message = (
                    f"a grid needs discrete values for {name}: add a step to its range, list values,"
                    " or use method random or tpe"
                )
                raise SpecError([FieldError(name, message)])
        return math.prod(len(_values(allowed)) for allowed in self.space.values())

    def _grid(self) -> list[Values]:
        names = list(self.space)
        return [
            dict(zip(names, values, strict=True))
            for values in product(*(_values(each) for each in self.space.values()))
        ]


def trials_of(sweep: SweepRecord) -> Trials:
    """The kind of runs that a stored sweep has."""
    if sweep.command is not None:
        return CommandTrials(sweep.spec, sweep.command)
    return NetworkTrials(sweep.spec, Catalog.model_validate({"families": sweep.families}))


def _values(allowed: Choice | Range) -> list[Any]:
    """The different values of a choice, or of a range with a step."""
    return list(dict.fromkeys(allowed.choice)) if isinstance(allowed, Choice) else list(allowed.values())


def _configurations(runs: Sequence[SweepRun]) -> list[Values]:
    """The values of each configuration, without the seed, in the order of their first runs."""
    found: dict[str, Values] = {}
    for run in runs:
        found.setdefault(run.configuration, {name: value for name, value in run.values.items() if name != SEED})
    return list(found.values())


def _full_key(values: Values) -> str:
    return f"{key_of(values)} {values.get(SEED)}"
