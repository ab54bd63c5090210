"""Runs of a sweep that execute a script: a signed command with values, or a signed program with values."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

from sqlalchemy import Connection

from app.contract.command import CommandRequest
from app.contract.program import ProgramCall, ProgramValueError, Startable
from app.contract.program_sweep import ProgramTemplate, space_of_program
from app.contract.program_values import check_values, command_of, read_value
from app.contract.spec import FieldError, SpecError
from app.contract.sweep import MOST_RUNS, SEED, Choice, Range, SweepSpec
from app.store.command import ExperimentDeleted, NewCommand, find_or_insert_experiment, insert_command
from app.store.run import Origin
from app.store.sweep import SweepRecord, SweepRun, key_of
from app.store.worker import WorkerRecord
from app.sweeps.draw import Values, draw_distinct

SEARCH_SEED = 1


@dataclass(frozen=True)
class PlannedScript:
    """A run that executes a sweep's script with these values."""

    values: Values


class ScriptTrials(ABC):
    """What the runs of both kinds of scripts have in common."""

    spec: SweepSpec
    part: ClassVar[str]
    """What a search varies, in words."""
    about: ClassVar[str]
    """The field of an error that concerns the whole sweep."""

    @property
    @abstractmethod
    def space(self) -> dict[str, Choice | Range]:
        """See Trials. Without the seed, which is no property of a configuration. Raises SpecError."""

    @property
    @abstractmethod
    def first_seed(self) -> int | None:
        """The seed of the first run of each configuration; None if the script takes no seed."""

    @abstractmethod
    def plan(self, values: Values) -> PlannedScript:
        """See Trials. With the first seed, if the script takes one. Raises SpecError if a value is not accepted."""

    @abstractmethod
    def insert(self, connection: Connection, sweep: str, planned: Sequence[Any], now: float) -> list[str]:
        """See Trials."""

    @abstractmethod
    def slots(self, workers: Sequence[WorkerRecord]) -> int:
        """See Trials."""

    @property
    def seed(self) -> int:
        """See Trials."""
        return SEARCH_SEED

    def expand(self) -> list[PlannedScript]:
        """The runs of a grid or of random draws with all seeds; none for a search. Raises SpecError."""
        self._check()
        if self.spec.method == "tpe":
            return []
        if self.spec.method == "grid":
            planned = [self.plan(values) for values in self._grid()]
        else:
            planned = list(
                draw_distinct(self.space, self.seed, self._draws, self.plan, lambda found: key_of(found.values))
            )
        return self.repeat(planned)

    def missing(self, existing: Sequence[SweepRun]) -> list[PlannedScript]:
        """The runs of an extended sweep that it does not have yet; the next ones of a search come from the search."""
        wanted = self.expand()
        if self.spec.method == "tpe":
            wanted = self.repeat([PlannedScript(values) for values in _configurations(existing)])
        keys = {_full_key(run.values) for run in existing}
        return [planned for planned in wanted if _full_key(planned.values) not in keys]

    def repeat(self, planned: Sequence[Any]) -> list[Any]:
        """See Trials. Every configuration comes once before any repeats. Raises SpecError if a seed is not accepted."""
        first = self.first_seed
        if first is None:
            return list(planned)
        seeds = range(first, first + self.spec.seeds)
        return [
            each if each.values.get(SEED) == seed else self._accepted(each.values | {SEED: seed})
            for seed in seeds
            for each in planned
        ]

    @property
    def total(self) -> int:
        """The number of runs that a search will have, or that are planned for others. Raises SpecError."""
        return self.spec.configurations * self.spec.seeds if self.spec.method == "tpe" else len(self.expand())

    @abstractmethod
    def _accepted(self, values: Values) -> PlannedScript:
        """The run with exactly these values. Raises SpecError."""

    def _check(self) -> None:
        space = self.space
        if self.spec.seeds > 1 and self.first_seed is None:
            raise SpecError([FieldError("seeds", self._no_seed)])
        if self.spec.method != "grid" and not space:
            message = f"method {self.spec.method} needs at least one {self.part}"
            raise SpecError([FieldError("method", message)])
        total = self._configurations_of(space) * self.spec.seeds
        if total > MOST_RUNS:
            message = f"this sweep would have {total:,} runs; the maximum is {MOST_RUNS:,}"
            raise SpecError([FieldError(self.about, message)])

    @property
    @abstractmethod
    def _no_seed(self) -> str:
        """Why several seeds are not possible."""

    def _configurations_of(self, space: dict[str, Choice | Range]) -> int:
        if self.spec.method != "grid":
            return self.spec.configurations
        for name, allowed in space.items():
            if isinstance(allowed, Range) and allowed.step is None:
                message = (
                    f"a grid needs discrete values for {name}: add a step to its range, list values,"
                    " or use method random or tpe"
                )
                raise SpecError([FieldError(name, message)])
        return math.prod(len(_values(allowed)) for allowed in space.values())

    @property
    def _draws(self) -> int:
        """The number of draws; at most as many as there are different ones, so that drawing ends."""
        space = self.space.values()
        if any(isinstance(allowed, Range) and allowed.step is None for allowed in space):
            return self.spec.configurations
        return min(self.spec.configurations, math.prod(len(_values(allowed)) for allowed in space))

    def _grid(self) -> list[Values]:
        space = self.space
        return [dict(zip(space, values, strict=True)) for values in product(*map(_values, space.values()))]


@dataclass(frozen=True)
class CommandTrials(ScriptTrials):
    """Runs that execute a signed command with placeholders, each with other values.

    Every value is one of those that are signed, so a sweep can start nothing that its user did not allow.
    """

    spec: SweepSpec
    request: CommandRequest

    part = "placeholder"
    about = "command"

    @property
    def space(self) -> dict[str, Choice | Range]:
        """See ScriptTrials."""
        placeholders = self.request.command.placeholders.items()
        return {
            name: Choice(choice=_values(allowed)) if isinstance(allowed, Choice) else allowed
            for name, allowed in placeholders
            if name != SEED
        }

    @property
    def first_seed(self) -> int | None:
        """See ScriptTrials."""
        return 1 if SEED in self.request.command.placeholders else None

    def plan(self, values: Values) -> PlannedScript:
        """See ScriptTrials."""
        return self._accepted(values if self.first_seed is None else values | {SEED: self.first_seed})

    def insert(self, connection: Connection, sweep: str, planned: Sequence[Any], now: float) -> list[str]:
        """See Trials."""
        request = self.request
        commands: list[Startable] = [request.command.model_copy(update={"values": each.values}) for each in planned]
        fields = request.model_dump(exclude={"command", "experiment"})
        return _insert(connection, sweep, request.experiment, commands, planned, now, fields)

    def slots(self, workers: Sequence[WorkerRecord]) -> int:
        """See Trials."""
        return sum(
            each.slots for each in workers if each.takes(self.request.device, self.request.worker, executes=True)
        )

    def _accepted(self, values: Values) -> PlannedScript:
        try:
            self.request.command.filled(values)
        except ValueError as error:
            raise SpecError([FieldError("command", str(error))]) from error
        return PlannedScript(values)

    def _check(self) -> None:
        try:
            self.request.command.check_placeholders()
        except ValueError as error:
            raise SpecError([FieldError("command", str(error))]) from error
        super()._check()

    @property
    def _no_seed(self) -> str:
        return "several seeds need a placeholder {seed} in the command; without it, they would all be the same"


@dataclass(frozen=True)
class ProgramTrials(ScriptTrials):
    """Runs that execute a signed program, each with other values for some of its fields.

    Every value is read and checked as for a single launch, and again by the worker.
    """

    spec: SweepSpec
    template: ProgramTemplate

    part = "field with several values"
    about = "sweep"

    @property
    def space(self) -> dict[str, Choice | Range]:
        """See ScriptTrials."""
        return space_of_program(self.template.program, self.spec)

    @property
    def first_seed(self) -> int | None:
        """See ScriptTrials. As for a launch, the seeds begin at the value of the field. Raises SpecError."""
        return self._seed_after(0) if self.template.program.takes_seeds else None

    def plan(self, values: Values) -> PlannedScript:
        """See ScriptTrials."""
        return self._accepted(values if self.first_seed is None else values | {SEED: self.first_seed})

    def _seed_after(self, more: int) -> int:
        field = self.template.program.by_name[SEED]
        given = self.template.values.get(SEED)
        given = field.default if given is None else given
        try:
            if given is None:
                raise ValueError("seed is required")
            return int(read_value(field, int(read_value(field, given)) + more))
        except ValueError as error:
            raise SpecError([FieldError("seeds" if more else SEED, str(error))]) from error

    def insert(self, connection: Connection, sweep: str, planned: Sequence[Any], now: float) -> list[str]:
        """See Trials."""
        template, program = self.template, self.template.program
        calls: list[Startable] = [ProgramCall(program=program, values=self._complete(each.values)) for each in planned]
        fields: dict[str, Any] = template.model_dump(exclude={"program", "values"})
        fields |= {"worker": program.worker, "restarts": program.restarts}
        return _insert(connection, sweep, program.experiment or program.name, calls, planned, now, fields)

    def slots(self, workers: Sequence[WorkerRecord]) -> int:
        """See Trials."""
        return sum(
            each.slots
            for each in workers
            if each.takes(self.template.device, self.template.program.worker, executes=True)
        )

    def _check(self) -> None:
        space = self.space
        errors = []
        for name in space:
            if self.template.values.get(name) is not None:
                errors.append(FieldError(name, f"{name} is in both values and sweep; use only one"))
        # Draws and proposals are not known yet. What no end of the space accepts is wrong for all of them.
        for end in (_first, _last):
            try:
                self._complete({name: end(allowed) for name, allowed in space.items()})
            except SpecError as error:
                errors += [each for each in error.errors if each not in errors]
        if self.template.program.takes_seeds and not errors:
            self._seed_after(self.spec.seeds - 1)
        if errors:
            raise SpecError(errors)
        super()._check()

    def _accepted(self, values: Values) -> PlannedScript:
        complete = self._complete(values)
        return PlannedScript({name: complete[name] for name in values})

    def _complete(self, values: Values) -> Values:
        try:
            complete = check_values(self.template.program, self.template.values | values)
            command_of(ProgramCall(program=self.template.program, values=complete))
        except ProgramValueError as error:
            raise SpecError(error.errors) from error
        return complete

    @property
    def _no_seed(self) -> str:
        return f"seeds must be 1: program '{self.template.program.name}' has no field 'seed' for whole numbers"


def script_trials(sweep: SweepRecord, spec: SweepSpec) -> ScriptTrials | None:
    """The runs of a stored sweep, with its spec or an extended one; None if they train networks."""
    if sweep.command is not None:
        return CommandTrials(spec, sweep.command)
    return ProgramTrials(spec, sweep.program) if sweep.program is not None else None


def _insert(
    connection: Connection,
    sweep: str,
    experiment_name: str,
    commands: Sequence[Startable],
    planned: Sequence[PlannedScript],
    now: float,
    fields: dict[str, Any],
) -> list[str]:
    try:
        experiment, family = find_or_insert_experiment(connection, experiment_name, now)
    except ExperimentDeleted as error:
        message = f"experiment '{experiment_name}' is in the trash; restore it, or use another"
        raise SpecError([FieldError("experiment", message)]) from error
    made = []
    for command, each in zip(commands, planned, strict=True):
        new = NewCommand(command=command, experiment=experiment, family=family, **fields)
        made.append(insert_command(connection, new, now, origin=Origin(sweep=sweep, sweep_values=each.values)))
    return made


def _first(allowed: Choice | Range) -> Any:
    return allowed.choice[0] if isinstance(allowed, Choice) else allowed.number(allowed.low)


def _last(allowed: Choice | Range) -> Any:
    return allowed.choice[-1] if isinstance(allowed, Choice) else allowed.number(allowed.high)


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
