"""Write everything that MLflow's client reads of a script's experiments: a JSON file, and all files.

Run in the environment of the script: ``python read_back.py NAME FOLDER`` with MLFLOW_TRACKING_URI set. Experiments and
registered models belong to the script if their names begin with NAME.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import FileInfo, ViewType


def pages(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    """Return the entries of all pages of a search, which are small to have several."""
    found = list(page := search(max_results=3, **arguments))
    while page.token:
        found += (page := search(max_results=3, page_token=page.token, **arguments))
    return found


def files(listing: Callable[[str | None], list[FileInfo]]) -> list[list[Any]]:
    """Return path and size of all files, as they are listed folder by folder."""
    found: list[list[Any]] = []
    folders: list[str | None] = [None]
    while folders:
        for each in listing(folders.pop()):
            if each.is_dir:
                folders.append(each.path)
            else:
                found.append([each.path, each.file_size])
    return sorted(found)


def run_of(client: MlflowClient, run: Any, folder: Path) -> dict[str, Any]:
    """Return what is known of a run, and download its files."""
    id = run.info.run_id
    listed = files(lambda path: client.list_artifacts(id, path))
    if listed:
        download_artifacts(run_id=id, artifact_path="", dst_path=str(folder / id))
    history = {key: client.get_metric_history(id, key) for key in sorted(run.data.metrics)}
    return {
        "info": {name: getattr(run.info, name) for name in ("run_id", "run_name", "experiment_id", "user_id")}
        | {name: getattr(run.info, name) for name in ("status", "start_time", "end_time", "lifecycle_stage")}
        | {"artifact_uri": run.info.artifact_uri},
        "created": run.info.start_time,
        "params": dict(run.data.params),
        "tags": dict(run.data.tags),
        "latest": dict(run.data.metrics),
        "metrics": {
            key: [[each.step, each.value, each.timestamp] for each in points] for key, points in history.items()
        },
        "datasets": [
            [each.dataset.to_dictionary(), sorted([tag.key, tag.value] for tag in each.tags)]
            for each in run.inputs.dataset_inputs
        ],
        "model_inputs": [each.model_id for each in run.inputs.model_inputs or []],
        "model_outputs": [[each.model_id, each.step] for each in (run.outputs.model_outputs if run.outputs else [])],
        "files": listed,
    }


def model_of(client: MlflowClient, model: Any, folder: Path) -> dict[str, Any]:
    """Return what is known of a logged model, and download its files."""
    listed = files(lambda path: client.list_logged_model_artifacts(model.model_id, path))
    if listed:
        download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(folder / model.model_id))
    named = ("key", "value", "step", "run_id", "dataset_name", "dataset_digest")
    return {
        "info": {name: getattr(model, name) for name in ("model_id", "name", "experiment_id", "model_type")}
        | {"source_run_id": model.source_run_id, "status": str(model.status), "artifact_uri": model.artifact_location},
        "created": model.creation_timestamp,
        "params": dict(model.params or {}),
        "tags": dict(model.tags or {}),
        "metrics": [[getattr(each, name) for name in named] for each in model.metrics or []],
        "files": listed,
    }


def registered(client: MlflowClient, model: Any) -> dict[str, Any]:
    """Return a registered model with all of its versions."""
    read = client.get_registered_model(model.name)
    versions = pages(client.search_model_versions, filter_string=f"name = '{model.name}'")
    fields = ("source", "run_id", "model_id", "status", "description", "current_stage")
    return {
        "description": read.description,
        "tags": dict(read.tags),
        "aliases": {alias: str(version) for alias, version in read.aliases.items()},
        "latest": [str(each.version) for each in read.latest_versions or []],
        "versions": {
            str(each.version): {name: getattr(each, name) for name in fields}
            | {"tags": dict(each.tags), "address": client.get_model_version_download_uri(each.name, each.version)}
            | {"aliases": sorted(client.get_model_version(each.name, each.version).aliases)}
            for each in versions
        },
    }


def main(name: str, folder: Path) -> None:
    """Write FOLDER/found.json and the files beside it."""
    client = MlflowClient()
    every = pages(client.search_experiments, view_type=ViewType.ALL)
    mine = [each for each in every if each.name.startswith(name)]
    ids = [each.experiment_id for each in mine]
    runs = pages(client.search_runs, experiment_ids=ids, run_view_type=ViewType.ALL)
    models = pages(client.search_logged_models, experiment_ids=ids)
    names = [each for each in pages(client.search_registered_models) if each.name.startswith(name)]
    found = {
        "experiments": [
            {"id": each.experiment_id, "name": each.name, "lifecycle": each.lifecycle_stage, "tags": dict(each.tags)}
            | {"artifact_uri": each.artifact_location}
            for each in mine
        ],
        "runs": [run_of(client, client.get_run(each.info.run_id), folder / "runs") for each in runs],
        "models": [model_of(client, client.get_logged_model(each.model_id), folder / "models") for each in models],
        "registered": {each.name: registered(client, each) for each in names},
    }
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
