"""/api/2.0/mlflow/runs: create, read, update, delete and restore the runs of scripts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, text

from app.actions import tracking as acts
from app.actions.runs import delete, restore
from app.contract.errors import Conflict, Invalid
from app.routes.mlflow.experiments import ARTIFACTS, experiment_of
from app.routes.mlflow.protocol import Answer, Arguments, call, number_as_json
from app.store.curve import newest
from app.store.database import reading
from app.store.logged_model import list_used
from app.store.metric import read_curves
from app.store.run import TERMINAL
from app.store.tracked_run import LoggedRunRecord, NewLoggedRun
from app.web.dependencies import Parts

OURS = {"FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled"}
THEIRS = {ours: theirs for theirs, ours in OURS.items()}
NUMBERS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
EARLIEST, LATEST = 0, 4_102_444_800_000


def described(connection: Connection, runs: list[LoggedRunRecord]) -> list[Answer]:
    """Return runs as the protocol represents them."""
    metrics: dict[str, list[Answer]] = {run.id: [] for run in runs}
    for row in connection.execute(_NEWEST, {"runs": list(metrics)}):
        at = {"step": row.last_step, "timestamp": round(row.last_time * 1000)}
        last = row.last if row.last is not None else _not_finite(connection, row.run, row.name, row.last_step)
        metrics[row.run].append({"key": row.name, "value": number_as_json(last)} | at)
    used = list_used(connection, list(metrics))
    answers = []
    for run in runs:
        tags = run.tags | {"mlflow.runName": run.row["name"]}
        data = {"metrics": metrics[run.id], "params": pairs(run.parameters), "tags": pairs(tags)}
        models = used.get(run.id, [])
        inputs: Answer = {"dataset_inputs": run.inputs}
        inputs["model_inputs"] = [{"model_id": each.model} for each in models if each.role == "input"]
        outputs = [{"model_id": each.model, "step": each.step} for each in models if each.role == "output"]
        answers.append({"info": info(run), "data": data, "inputs": inputs, "outputs": {"model_outputs": outputs}})
    return answers


def _not_finite(connection: Connection, run: str, name: str, step: int) -> float:
    """Return the last value of a metric, of which the summary says only that it is NaN or infinite."""
    curve = read_curves(connection, run, [name], 0, (step, step))[name]
    return float(curve.values[newest(curve)])


_NEWEST = text(
    "SELECT run, name, last, last_step, last_time FROM metric_series WHERE run IN :runs ORDER BY name"
).bindparams(bindparam("runs", expanding=True))


def pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Return names and values as the protocol lists them."""
    return [{"key": key, "value": value} for key, value in values.items()]


def info(logged: LoggedRunRecord) -> Answer:
    """Return a run's info object."""
    row = logged.row
    result: dict[str, Any] = {
        "run_id": row["id"],
        "run_uuid": row["id"],
        "run_name": row["name"],
        "experiment_id": str(row["experiment"]),
        "user_id": row["user"],
        "status": THEIRS.get(row["status"], "RUNNING"),
        "start_time": round((row["started_at"] or row["created_at"]) * 1000),
        "artifact_uri": f"{ARTIFACTS}{row['experiment']}/{row['id']}/artifacts",
        "lifecycle_stage": "active" if row["deleted_at"] is None else "deleted",
    }
    if row["status"] in TERMINAL:
        result["end_time"] = round(row["ended_at"] * 1000)
    return result


@call("/runs/create")
def create_run(parts: Parts, args: Arguments) -> Answer:
    """Create a run."""
    tags = args.pairs("tags", 200)
    with reading(parts.engine) as connection:
        experiment = experiment_of(connection, args)
    if experiment.deleted_at is not None:
        raise Conflict(f"experiment '{experiment.name}' is in the trash; restore it first")
    started = _timestamp(args, "start_time")
    given = args.text("run_name", "", most=500) or tags.get("mlflow.runName", "")
    name = given or experiment.name
    user = args.text("user_id", "", most=200) or tags.get("mlflow.user", "")
    begun = NewLoggedRun(
        experiment.id, experiment.name, name, started or time.time(), user=user, tags=tags | {"mlflow.runName": name}
    )
    if args.within and acts.adopt(parts, args.within, replace(begun, name=given), experiment):
        return {"run": _as_json(parts, acts.find(parts, args.within))}
    run = acts.begin(parts, begun)
    return {"run": _as_json(parts, acts.find(parts, run))}


def _as_json(parts: Parts, logged: LoggedRunRecord) -> Answer:
    with reading(parts.engine) as connection:
        return described(connection, [logged])[0]


def _timestamp(args: Arguments, field: str) -> float | None:
    if not args.has(field):
        return None
    return args.whole(field, least=EARLIEST, most=LATEST) / 1000 or None


@call("/runs/get", "GET")
def get_run(parts: Parts, args: Arguments) -> Answer:
    """Return a run with the latest value of each metric."""
    return {"run": _as_json(parts, acts.find(parts, args.run))}


@call("/runs/update")
def update_run(parts: Parts, args: Arguments) -> Answer:
    """Set a run's outcome or name."""
    status = args.text("status", "", most=20).upper()
    status = NUMBERS.get(status, status)
    if status not in ("", "RUNNING", "SCHEDULED", *OURS):
        raise Invalid(f"no status '{status}'; statuses: {', '.join(NUMBERS.values())}")
    name = args.text("run_name", most=500) if args.has("run_name") else None
    acts.end(parts, args.run, OURS.get(status), _timestamp(args, "end_time"), name or None)
    return {"run_info": info(acts.find(parts, args.run))}


@call("/runs/delete")
def delete_run(parts: Parts, args: Arguments) -> Answer:
    """Move a run to the trash; a run that has not ended is cancelled first. Raises Conflict for a running command."""
    logged = acts.find(parts, args.run)
    if logged.row["status"] not in TERMINAL and not logged.executed:
        acts.end(parts, logged.id, "cancelled", None, None)
    if logged.row["deleted_at"] is None:
        delete(parts, logged.id)
    return {}


@call("/runs/restore")
def restore_run(parts: Parts, args: Arguments) -> Answer:
    """Restore a run from the trash."""
    logged = acts.find(parts, args.run)
    if logged.row["deleted_at"] is not None:
        restore(parts, logged.id)
    return {}
