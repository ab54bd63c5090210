"""Adds planned runs of a sweep to the queue."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from app.contract.catalog import Catalog
from app.contract.sweep import SweepSpec
from app.store.run import Origin, insert_run
from app.sweeps.expand import Planned, known_params


def insert_planned(
    connection: Connection, catalog: Catalog, sweep: str, spec: SweepSpec, planned: Iterable[Planned], now: float
) -> list[str]:
    """Queue these runs of a sweep with the sweep's tags; returns their ids."""
    ids = []
    for run in planned:
        config, asked = run.config, run.asked
        if spec.tags:
            tags = list(dict.fromkeys([*config.tags, *spec.tags]))
            config, asked = config.model_copy(update={"tags": tags}), asked | {"tags": tags}
        origin = Origin(sweep=sweep, sweep_values=run.values)
        ids.append(insert_run(connection, config, asked, known_params(config, catalog), now, origin=origin))
    return ids
