"""/api/v1/datasets: upload, follow, choose, show, export, delete and restore, as a script does it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.actions import runs
from app.actions.datasets import delete_dataset
from app.contract.catalog import Catalog
from app.contract.dataset_import import REPORT, STATE, UPLOAD, Choices, ImportRequest, ImportState
from app.contract.errors import Conflict
from app.contract.settings import Settings
from app.contract.spec import RunConfig, RunSpec, resolve
from app.services.dataset_imports import UPLOADING, DatasetImports
from app.services.own_dataset_trash import purge_datasets
from tests.app.own_dataset import describe_own_dataset, report
from tests.conftest import errors_of

OLD, NEW = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def upload(client: TestClient | httpx.Client, *files: str, **fields: Any) -> Any:
    """The answer to an upload of files with these names."""
    parts = [*((name, (None, value)) for name, value in fields.items())]
    return client.post("/api/v1/datasets", files=[*parts, *(("file", (name, b"content")) for name in files)])


def folder_of(settings: Settings, number: str) -> Path:
    """The folder of an import."""
    return settings.datasets / "imports" / number


def read(settings: Settings, number: str, **state: Any) -> None:
    """What the worker writes once it has read the images."""
    folder = folder_of(settings, number)
    (folder / REPORT).write_text(report().model_dump_json())
    (folder / STATE).write_text(ImportState.model_validate({"status": "preview"} | state).model_dump_json())


def test_an_upload_becomes_an_import_that_waits_for_a_worker(client: TestClient, settings: Settings) -> None:
    answer = upload(client, "flowers/rose/1.jpg", "flowers/tulip/1.jpg", name="flowers", options='{"side": 64}')
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["name"], shown["status"], shown["url"]) == ("flowers", "waiting", f"/datasets/imports/{shown['id']}")
    folder = folder_of(settings, shown["id"])
    request = ImportRequest.model_validate_json((folder / "request.json").read_text())
    assert (request.source, request.original, request.keep) == (str(folder / UPLOAD), "flowers", True)
    assert request.choices == Choices(side=64)
    assert (folder / UPLOAD / "flowers/rose/1.jpg").read_bytes() == b"content"
    assert not (folder / UPLOADING).exists()
    details = client.get("/api/v1/datasets/flowers").json()
    assert (details["status"], details["dataset"], details["imports"]) == ("waiting", None, [shown])


def test_a_single_archive_is_the_source_itself(client: TestClient, settings: Settings) -> None:
    number = upload(client, "my flowers.tar.gz", name="flowers", keep="false").json()["id"]
    request = ImportRequest.model_validate_json((folder_of(settings, number) / "request.json").read_text())
    assert request.source == str(folder_of(settings, number) / UPLOAD / "my flowers.tar.gz")
    assert (request.original, request.keep) == ("my flowers.tar.gz", False)


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({}, "name", "a name is required"),
        ({"name": "Flowers"}, "name", "lowercase letters"),
        ({"name": "imports"}, "name", "lowercase letters"),
        ({"name": "mnist"}, "name", "comes with Runyard"),
        ({"name": "flowers", "keep": "perhaps"}, "keep", "true or false"),
        ({"name": "flowers", "options": '{"side": 33}'}, "side", "side must be one of"),
        ({"name": "flowers", "options": '{"sides": 32}'}, "sides", "unknown field 'sides'"),
        ({"name": "flowers", "options": "{bad"}, "options", 'a JSON object, e.g. {"side": 64}'),
        ({"name": "flowers", "options": "[64]"}, "options", 'a JSON object, e.g. {"side": 64}'),
        ({"name": "flowers", "path": "/srv"}, "file", "either files or a path"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_of_it_stays(
    client: TestClient, settings: Settings, fields: dict[str, str], field: str, sentence: str
) -> None:
    assert sentence in errors_of(upload(client, "1.zip", **fields))[field]
    assert list((settings.datasets / "imports").iterdir()) == []


def test_only_paths_that_the_server_allows_are_imported(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    assert "RUNYARD_IMPORT_PATHS" in errors_of(upload(client, name="flowers", path="/srv/flowers"))["path"]
    allowed = tmp_path / "pictures"
    (allowed / "flowers").mkdir(parents=True)
    (allowed / "secrets").symlink_to(tmp_path)
    imports = DatasetImports(settings.datasets, [allowed])
    assert imports._allowed_path(str(allowed / "flowers")) == allowed / "flowers"
    for path in (str(tmp_path), str(allowed / "secrets"), f"{allowed}/../data", "pictures/flowers", f"{allowed}/none"):
        with pytest.raises(Exception, match=r"RUNYARD_IMPORT_PATHS|absolute|does not exist"):
            imports._allowed_path(path)


def test_an_upload_larger_than_other_requests_arrives(client: TestClient, settings: Settings) -> None:
    content = b"x" * (5 * 2**20)
    answer = client.post("/api/v1/datasets", files=[("name", (None, "large")), ("file", ("large.zip", content))])
    assert answer.status_code == 202
    assert (folder_of(settings, answer.json()["id"]) / UPLOAD / "large.zip").stat().st_size == len(content)


def test_an_upload_that_its_server_did_not_finish_is_removed_by_the_next_one(settings: Settings) -> None:
    imports = DatasetImports(settings.datasets)
    left, going_on, finished = (settings.datasets / "imports" / name for name in ("left", "going_on", "finished"))
    for folder in (left, finished):
        folder.mkdir(parents=True)
        (folder / UPLOADING).touch()
    (finished / "request.json").write_text("{}")
    arrived, release = threading.Event(), threading.Event()

    def other_server() -> None:
        with DatasetImports(settings.datasets)._being_uploaded(going_on):
            arrived.set()
            release.wait(10)

    thread = threading.Thread(target=other_server)
    thread.start()
    assert arrived.wait(10)
    imports.remove_unfinished()
    release.set()
    thread.join()
    assert sorted(folder.name for folder in imports.folder.iterdir()) == ["finished", "going_on"]


def test_choices_are_taken_while_the_preview_is_shown(client: TestClient, settings: Settings) -> None:
    number = upload(client, "1.zip", name="flowers", keep="false").json()["id"]
    assert client.get(f"/api/v1/dataset-imports/{number}/report").status_code == 404
    read(settings, number)
    assert client.get(f"/api/v1/dataset-imports/{number}/report").json()["duplicates_across"] == 1
    address = f"/api/v1/dataset-imports/{number}/choices"
    few = {"classes": {"daisy": "", "rose": "tulip", "Rose": "tulip"}}
    assert errors_of(client.post(address, json={"choices": few})) == {"classes": "at least two classes are needed"}
    assert client.post(address, json={"choices": {"side": 32}}).json()["status"] == "reading"
    made = json.loads((folder_of(settings, number) / "choices.json").read_text())
    assert (made["number"], made["choices"]["side"], made["keep"]) == (1, 32, False)
    assert client.post(address, json={"choices": {}, "keep": True}).status_code == 200
    refused = client.post(address, json={"choices": {}})
    assert (refused.status_code, "can no longer be changed" in refused.text) == (409, True)


def test_an_import_is_cancelled_and_one_that_has_ended_is_forgotten(client: TestClient, settings: Settings) -> None:
    number = upload(client, "1.zip", name="flowers").json()["id"]
    assert client.delete(f"/api/v1/dataset-imports/{number}").json()["task"] == "cancelling"
    assert (folder_of(settings, number) / "cancel").exists()
    read(settings, number, status="cancelled")
    assert client.delete(f"/api/v1/dataset-imports/{number}").json()["status"] == "cancelled"
    assert client.get(f"/api/v1/dataset-imports/{number}").status_code == 404


def test_a_dataset_is_listed_shown_and_exported(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets, version=OLD)
    describe_own_dataset(settings.datasets, version=NEW, created_at=2.0)
    listed = client.get("/api/v1/datasets").json()["datasets"]
    assert [(each["name"], each["own"], each["version"]) for each in listed][-2:] == [
        ("cifar100", False, ""),
        ("flowers", True, NEW),
    ]
    shown = client.get("/api/v1/datasets/flowers").json()
    assert (shown["status"], [each["version"] for each in shown["versions"]]) == ("ready", [NEW, OLD])
    assert shown["report"]["near_empty"] == ["tulip"]
    older = client.get("/api/v1/datasets/flowers", params={"version": OLD}).json()
    assert older["dataset"]["version"] == OLD
    csv = client.get("/api/v1/datasets/flowers/items.csv", params={"version": OLD})
    assert csv.text.splitlines()[1] == "train,0,rose,rose/1.jpg"
    assert f"flowers-{OLD}.csv" in csv.headers["content-disposition"]
    assert client.post("/api/v1/datasets/flowers/use", json={"version": OLD}).json()["dataset"]["version"] == OLD
    missing = client.get("/api/v1/datasets/flower")
    assert (missing.status_code, "datasets: digits, mnist" in missing.json()["detail"]) == (404, True)
    assert client.get("/api/v1/datasets/digits").json()["versions"] == []


def test_a_deleted_dataset_can_be_restored(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    assert client.delete("/api/v1/datasets/flowers").status_code == 204
    assert client.get("/api/v1/datasets/flowers").status_code == 404
    assert client.delete("/api/v1/datasets/flowers").status_code == 404
    assert client.post("/api/v1/datasets/flowers/restore").json()["status"] == "ready"
    assert client.post("/api/v1/datasets/flowers/restore").status_code == 404
    refused = client.delete("/api/v1/datasets/mnist")
    assert (refused.status_code, "comes with Runyard" in refused.text) == (409, True)


def test_a_dataset_that_a_waiting_run_needs_is_not_deleted(
    client: TestClient, settings: Settings, engine: Engine, catalog: Catalog
) -> None:
    describe_own_dataset(settings.datasets)
    launched = client.post("/api/v1/runs", json={"family": "simple_mlp", "dataset": "flowers"})
    assert launched.status_code == 201, launched.text
    refused = client.delete("/api/v1/datasets/flowers")
    assert refused.status_code == 409
    assert refused.json()["detail"] == "run #1 uses flowers; stop it or wait until it ends"
    client.post(f"/api/v1/runs/{launched.json()['id']}/cancel")
    assert client.delete("/api/v1/datasets/flowers").status_code == 204
    # What was trained on it is still shown, and says why it cannot be repeated.
    run = launched.json()["id"]
    assert client.get(f"/runs/{run}").status_code == 200
    again = client.post(f"/api/v1/runs/{run}/retry")
    assert (again.status_code, "was deleted" in again.text or "no dataset" in again.text) in ((409, True), (422, True))


def test_a_launch_that_a_deletion_overtakes_is_refused(
    client: TestClient, settings: Settings, server: FastAPI, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe_own_dataset(settings.datasets)

    def overtaken(spec: RunSpec, catalog: Catalog) -> RunConfig:
        config = resolve(spec, catalog)
        delete_dataset(server.state.parts, "flowers")
        return config

    monkeypatch.setattr("app.actions.runs.resolve", overtaken)
    with pytest.raises(Conflict, match="has been deleted"):
        runs.launch(server.state.parts, catalog, RunSpec(family="simple_mlp", dataset="flowers"))
    assert client.get("/api/v1/runs").json()["runs"] == []


def test_an_empty_folder_that_a_killed_import_left_is_in_nobodys_way(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    client.delete("/api/v1/datasets/flowers")
    (settings.datasets / "own" / "flowers").mkdir()
    assert client.post("/api/v1/datasets/flowers/restore").json()["status"] == "ready"
    client.delete("/api/v1/datasets/flowers")
    describe_own_dataset(settings.datasets, version=NEW)
    assert client.post("/api/v1/datasets/flowers/restore").status_code == 409


def test_what_has_been_in_the_trash_for_long_is_deleted_for_good(client: TestClient, settings: Settings) -> None:
    describe_own_dataset(settings.datasets)
    client.delete("/api/v1/datasets/flowers")
    assert purge_datasets(settings.datasets, time.time() - 60) == []
    assert [entry.partition("@")[0] for entry in purge_datasets(settings.datasets, time.time() + 60)] == ["flowers"]
    assert client.post("/api/v1/datasets/flowers/restore").status_code == 404


def test_imports_that_ended_long_ago_are_forgotten(client: TestClient, settings: Settings) -> None:
    old, new, waiting = (upload(client, "1.zip", name="flowers").json()["id"] for _ in range(3))
    read(settings, old, status="failed", updated_at=time.time() - 1000)
    read(settings, new, status="failed", updated_at=time.time())
    imports = DatasetImports(settings.datasets)
    imports.remove_old(500)
    assert {each.id for each in imports.every()} == {new, waiting}


@pytest.mark.parametrize("number", ["..", "a%00b", "%2e%2e%2fown", "a%2fb", "x" * 61])
def test_an_id_leads_nowhere_else(client: TestClient, number: str) -> None:
    assert client.get(f"/api/v1/dataset-imports/{number}").status_code in (404, 422)
