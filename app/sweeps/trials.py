"""The kinds of runs that a sweep can have: networks of the catalog, and scripts (app/sweeps/script_trials.py).

The sweep driver and the actions on sweeps treat all alike; another kind needs another implementation of Trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from app.contract.catalog import Catalog
from app.contract.sweep import Choice, Range, SweepSpec
from app.store.sweep import SweepRecord
from app.store.worker import WorkerRecord
from app.sweeps.draw import Values
from app.sweeps.expand import plan_one, space_of, with_seeds
from app.sweeps.insert import insert_planned
from app.sweeps.script_trials import script_trials

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


def trials_of(sweep: SweepRecord) -> Trials:
    """The kind of runs that a stored sweep has."""
    return script_trials(sweep, sweep.spec) or NetworkTrials(
        sweep.spec, Catalog.model_validate({"families": sweep.families})
    )
