"""The comparison finds what differs between two stores, and lets pass only what the exceptions name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_scripts.comparison import Facts, differences, facts
from tests.mlflow_scripts.exceptions import EXCEPTIONS
from tests.mlflow_scripts.running import HERE, SCRIPTS

FIRST = {"parent": "a" * 32, "child": "b" * 32, "model": f"m-{'c' * 32}", "root": "/home/ada/mlruns/1"}
SECOND = {
    "parent": "r_0000000z8n1c",
    "child": "r_0000000a8n1c",
    "model": f"m-{'1' * 32}",
    "root": "mlflow-artifacts:/7",
}


def run(id: str, root: str, name: str, created: int, **changes: Any) -> dict[str, Any]:
    info: dict[str, Any] = {"run_id": id, "run_name": name, "experiment_id": "1", "user_id": "me", "status": "FINISHED"}
    info |= {"start_time": created, "end_time": created + 5, "lifecycle_stage": "active"}
    empty: dict[str, Any] = {"params": {}, "tags": {}, "latest": {}, "metrics": {}}
    empty |= {"datasets": [], "model_inputs": [], "model_outputs": [], "files": []}
    return empty | {"info": info | {"artifact_uri": f"{root}/{id}/artifacts"}, "created": created} | changes


def store(folder: Path, ids: dict[str, str], **changes: Any) -> Facts:
    """What a store has: a run, another one within it, and a model; with changes of the run within."""
    within = {"tags": {"mlflow.parentRunId": ids["parent"]}, "params": {"lr": "0.1"}, "files": [["a.txt", 3]]}
    within |= {"metrics": {"loss": [[0, 2.0, 10], [1, float("nan"), 20]]}, "latest": {"loss": float("nan")}}
    model = {"model_id": ids["model"], "name": "net", "experiment_id": "1", "model_type": None, "status": "READY"}
    model |= {"source_run_id": ids["child"], "artifact_uri": f"{ids['root']}/models/{ids['model']}/artifacts"}
    found = {
        "experiments": [{"id": "1", "name": "one", "lifecycle": "active", "tags": {}, "artifact_uri": ids["root"]}],
        "runs": [
            run(ids["child"], ids["root"], "child", 2, **(within | {"model_outputs": [[ids["model"], 3]]} | changes)),
            run(ids["parent"], ids["root"], "parent", 1),
        ],
        "models": [{"info": model, "params": {}, "tags": {}, "metrics": [], "files": [["MLmodel", 9]], "created": 3}],
        "registered": {},
    }
    description = f"artifact_path: {model['artifact_uri']}\nutc_time_created: {folder}\nkind: x\n"
    for path, content in ((f"runs/{ids['child']}/a.txt", "one"), (f"models/{ids['model']}/MLmodel", description)):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(content)
    (folder / "found.json").write_text(json.dumps(found))
    return facts("nested_runs", folder)


def test_stores_that_differ_only_in_ids_places_and_times_are_equal(tmp_path: Path) -> None:
    first, second = store(tmp_path / "first", FIRST), store(tmp_path / "second", SECOND)
    assert differences(first, second) == []
    assert first["run 2/tags/mlflow.parentRunId"] == "run 1"
    assert first["run 2/model outputs"] == [["model 1", 3]]
    assert first["run 2/metrics/loss"][0] == [0, 2.0]


@pytest.mark.parametrize(
    ("changes", "address"),
    [
        ({"params": {"lr": "0.10"}}, "run 2/params/lr"),
        ({"params": {"lr": "0.1", "more": ""}}, "run 2/params/more"),
        ({"tags": {"mlflow.parentRunId": "b" * 32}}, "run 2/tags/mlflow.parentRunId"),
        ({"metrics": {"loss": [[0, 2.0, 10]]}}, "run 2/metrics/loss"),
        ({"metrics": {"loss": [[0, 2.0, 10], [1, 2.0, 20]]}}, "run 2/metrics/loss"),
        ({"metrics": {"loss": [[0, 2.0, 10], [2, float("nan"), 20]]}}, "run 2/metrics/loss"),
        ({"files": [["a.txt", 4]]}, "run 2/sizes/a.txt"),
        ({"model_outputs": [[FIRST["model"], 4]]}, "run 2/model outputs"),
        ({"datasets": [[{"name": "x"}, []]]}, "run 2/datasets"),
    ],
)
def test_every_other_difference_is_found(tmp_path: Path, changes: dict[str, Any], address: str) -> None:
    first, second = store(tmp_path / "first", FIRST), store(tmp_path / "second", FIRST, **changes)
    assert [line.splitlines()[0] for line in differences(first, second)] == [address]


def test_a_byte_of_a_file_that_differs_is_found(tmp_path: Path) -> None:
    first = store(tmp_path / "first", FIRST)
    store(tmp_path / "second", SECOND)
    file = next((tmp_path / "second" / "models").rglob("MLmodel"))
    file.write_text(file.read_text().replace("kind: x", "kind: y"))
    found = differences(first, facts("nested_runs", tmp_path / "second"))
    assert [line.splitlines()[0] for line in found] == ["model 1/files/MLmodel"]


def test_every_exception_has_a_reason_and_is_about_a_script_that_exists() -> None:
    names = {script.name for script in SCRIPTS}
    assert {each.script for each in EXCEPTIONS} <= names | {"*"}
    assert all(each.reason.endswith(".") for each in EXCEPTIONS)


def test_every_script_is_run_and_names_what_it_needs() -> None:
    assert {f"{script.name}.py" for script in SCRIPTS} == {file.name for file in (HERE / "scripts").glob("*.py")}
    installed = (HERE / "requirements.txt").read_text()
    for script in SCRIPTS:
        assert all(name in installed for name in script.needs), script
