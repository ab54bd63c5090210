"""Actions on single runs, shared by the API and the pages: launch, cancel, delete, restore."""

from __future__ import annotations

import time

from app.actions.concurrent_launches import until_inserted
from app.contract.catalog import Catalog
from app.contract.datasets import DATASETS
from app.contract.errors import Conflict, NotFound
from app.contract.spec import RunSpec, resolve
from app.services import pubsub
from app.store import lease, trash
from app.store import run as run_store
from app.store.alias import aliases_of
from app.store.database import next_commit, reading, writing
from app.store.metric import Summary, read_summaries
from app.store.registered_model import versions_of_run
from app.store.run import RunRecord
from app.web.dependencies import Parts


def find_run(parts: Parts, run_id: str) -> tuple[RunRecord, dict[str, Summary]]:
    """Return a run and its metric summaries. Raises NotFound."""
    with reading(parts.engine) as connection:
        record = run_store.load_run(connection, run_id)
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        return record, read_summaries(connection, [run_id])[run_id]


def launch(
    parts: Parts,
    catalog: Catalog,
    spec: RunSpec,
    idempotency_key: str | None = None,
    origin: run_store.Origin | None = None,
) -> str:
    """Queue a run, wake a worker, and return the run's ID.

    A repeated ``idempotency_key`` returns the run that it launched before. Raises SpecError, and Conflict if that run
    had another spec, or the dataset is deleted at the same time.
    """
    config = resolve(spec, catalog)
    size = catalog.families[config.family].size(config.size)
    plain = size is not None and not config.options and len(config.targets) == 1 and not config.auxiliary
    default_target = plain and config.targets == [first_target(config.dataset)]
    params = size.params.get(config.dataset) if size is not None and default_target else None
    asked = spec.model_dump(exclude_unset=True)

    def insert() -> tuple[str, RunRecord | None]:
        with writing(parts.engine) as connection:
            if config.dataset not in DATASETS:
                raise Conflict(f"dataset {config.dataset} has been deleted")
            inserted = run_store.insert_run(connection, config, asked, params, time.time(), idempotency_key, origin)
            return inserted, run_store.load_run(connection, inserted, deleted=True)

    run_id, record = until_inserted(insert)
    if record is not None and record.requested_spec != asked:
        raise Conflict(f"this Idempotency-Key already launched a different run, {run_id}; use a new key")
    if record is not None and record.status == "queued":
        pubsub.wake_workers(parts.redis, parts.celery, 1)
        pubsub.announce(parts.redis, record.status_commit, run_id, "status")
    return run_id


def first_target(dataset: str) -> str:
    """Return a dataset's default target; "" for one that was deleted."""
    return DATASETS[dataset].targets[0].name if dataset in DATASETS else ""


def cancel(parts: Parts, run_id: str) -> str:
    """Cancel a run and return its new status. Raises NotFound."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        grace = parts.settings.cancel_seconds + parts.settings.lease_seconds
        status = lease.request_cancel(connection, run_id, commit, time.time(), grace)
    if status is None:
        raise NotFound(f"no run '{run_id[:40]}'")
    if status == "cancelling":
        pubsub.nudge_cancel(parts.redis, run_id)
    pubsub.announce(parts.redis, commit, run_id, "status")
    return status


def delete(parts: Parts, run_id: str) -> None:
    """Move a run to the trash. Raises NotFound, and Conflict if it has not ended or a name points to it."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        done = trash.delete_run(connection, run_id, commit, time.time())
        record = run_store.load_run(connection, run_id)
        aliases = aliases_of(connection, [run_id]).get(run_id, [])
        versions = versions_of_run(connection, run_id)
    if not done:
        if record is None:
            raise NotFound(f"no run '{run_id[:40]}'")
        if aliases:
            raise Conflict(pointed_to(record.number, aliases))
        if versions:
            raise Conflict(registered_from(record.number, versions))
        raise Conflict(f"this run has not ended (status: {record.status}); stop it before deleting it")
    pubsub.announce(parts.redis, commit, run_id, "status")


def pointed_to(number: int, aliases: list[str]) -> str:
    """Why a run cannot be deleted that model names point to."""
    names = ", ".join(aliases[:5]) + (", …" if len(aliases) > 5 else "")
    one = len(aliases) == 1
    return (
        f"the model name{'' if one else 's'} {names} point{'s' if one else ''} to run #{number};"
        f" move or remove {'it' if one else 'them'} first"
    )


def registered_from(number: int, versions: list[tuple[str, int]]) -> str:
    """Why a run cannot be deleted that versions of registered models come from."""
    names = ", ".join(f"{version} of {name}" for name, version in versions[:5]) + (", …" if len(versions) > 5 else "")
    one = len(versions) == 1
    return (
        f"the model version{'' if one else 's'} {names} come{'s' if one else ''} from run #{number};"
        f" remove {'it' if one else 'them'} first, on the page Models or with MLflow"
    )


def restore(parts: Parts, run_id: str) -> None:
    """Restore a run from the trash. Raises NotFound."""
    with writing(parts.engine) as connection:
        commit = next_commit(connection)
        done = trash.restore_run(connection, run_id, commit)
    if not done:
        raise NotFound(f"run '{run_id[:40]}' is not in the trash")
    pubsub.announce(parts.redis, commit, run_id, "status")
