"""Models that a script logs, with the requests that MLflow's client sends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from app.actions import logged_models
from app.store.database import writing
from app.store.logged_model import folder_for
from app.store.trash import purge_runs
from tests.conftest import Runs

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script

MODELS = "/api/2.0/mlflow/logged-models"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
NOW = 1_700_000_000_000


class Models:
    """The models of a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.client = script.client

    def create(self, name: str = "net", run: str = "", **said: Any) -> Any:
        """Create a model; gives its info."""
        source = {"source_run_id": run} if run else {}
        made = self.script.say("/logged-models", experiment_id="0", name=name, **source, **said)
        return made["model"]["info"]

    def get(self, model: str) -> Any:
        return self.script.ask(f"/logged-models/{model}")["model"]

    def send(self, method: str, path: str, **said: Any) -> Any:
        """A call that must be taken."""
        answer = self.client.request(method, f"{MODELS}/{path}".rstrip("/"), json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, **said: Any) -> tuple[str, str]:
        """A call that is not taken: its code and its sentence."""
        answer = self.client.request(method, f"{MODELS}/{path}".rstrip("/"), json=said)
        assert answer.status_code >= 400, answer.text
        return answer.json()["error_code"], answer.json()["message"]

    def put(self, model: str, path: str, content: bytes) -> Any:
        return self.client.put(f"{FILES}/0/models/{model}/artifacts/{quote(path)}", content=content)

    def names(self, root: str) -> list[Any]:
        """What is directly at an address."""
        answer = self.client.get(FILES, params={"path": root})
        assert answer.status_code == 200, answer.text
        return [file["path"] for file in answer.json()["files"]]

    def search(self, filter: str = "", **said: Any) -> list[str]:
        """Names of the models that a search finds, in its order."""
        found = self.script.say("/logged-models/search", experiment_ids=["0"], filter=filter, **said)
        return [model["info"]["name"] for model in found["models"]]


@pytest.fixture
def models(script: Script) -> Models:
    return Models(script)


def test_a_model_is_created_filled_and_finished(models: Models, script: Script) -> None:
    run = script.begin()
    made = models.create("net", run, model_type="agent", params=[{"key": "C", "value": "0.5"}], tags=[])
    assert (made["status"], made["source_run_id"], made["model_type"]) == ("LOGGED_MODEL_PENDING", run, "agent")
    assert made["artifact_uri"] == f"mlflow-artifacts:/0/models/{made['model_id']}/artifacts"
    assert models.put(made["model_id"], "MLmodel", b"flavors").status_code == 200
    assert models.put(made["model_id"], "data/weights.bin", b"123").status_code == 200
    finished = models.send("PATCH", made["model_id"], status="LOGGED_MODEL_READY")["model"]
    assert finished["info"]["status"] == "LOGGED_MODEL_READY"
    assert finished["data"]["params"] == [{"key": "C", "value": "0.5"}]
    root = f"0/models/{made['model_id']}/artifacts"
    assert (models.names(root), models.names(f"{root}/data")) == (["MLmodel", "data"], ["weights.bin"])
    assert models.client.get(f"{FILES}/{root}/data/weights.bin").content == b"123"
    directory = script.ask(f"/logged-models/{made['model_id']}/artifacts/directories", artifact_directory_path="data")
    assert directory["files"] == [{"path": "data/weights.bin", "is_dir": False, "file_size": 3}]
    assert script.get(run)["info"]["status"] == "RUNNING"


def test_its_files_are_files_of_its_run_in_a_folder_of_their_own(models: Models, script: Script) -> None:
    run = script.begin()
    first, second = models.create("net", run)["model_id"], models.create("net", run)["model_id"]
    models.put(first, "MLmodel", b"one")
    models.put(second, "MLmodel", b"two")
    models.client.put(f"{FILES}/0/{run}/artifacts/models/net/notes.txt", content=b"mine")
    answer = models.client.get(f"/api/v1/runs/{run}/files").json()
    assert [file["path"] for file in answer["files"]] == sorted(
        [f"models/net-{each[2:14]}/MLmodel" for each in (first, second)] + ["models/net/notes.txt"]
    )
    assert f"models/net-{first[2:14]}" in models.client.get(f"/runs/{run}/files").text
    # MLflow's own server lists only what was logged to the run itself.
    assert (models.names(f"0/{run}/artifacts"), models.names(f"0/{run}/artifacts/models")) == (["models"], ["net"])


def test_deleting_the_files_of_a_run_spares_its_models(models: Models, script: Script) -> None:
    run = script.begin()
    model = models.create("net", run)["model_id"]
    models.put(model, "MLmodel", b"one")
    models.client.put(f"{FILES}/0/{run}/artifacts/notes.txt", content=b"mine")
    assert models.client.delete(f"{FILES}/0/{run}/artifacts").status_code == 200
    assert models.names(f"0/models/{model}/artifacts") == ["MLmodel"]
    assert models.client.delete(f"{FILES}/0/models/{model}/artifacts/MLmodel").status_code == 200
    assert models.names(f"0/models/{model}/artifacts") == []


def test_large_files_of_a_model_may_come_in_parts(models: Models) -> None:
    model = models.create("net")["model_id"]
    where = f"/api/2.0/mlflow-artifacts/mpu/%s/0/models/{model}/artifacts/data"
    begun = models.client.post(where % "create", json={"path": "/tmp/weights.bin", "num_parts": 2}).json()
    parts = [
        {"part_number": part["part_number"], "etag": models.client.put(part["url"], content=content).headers["etag"]}
        for part, content in zip(begun["credentials"], (b"abc", b"de"), strict=True)
    ]
    said = {"path": "weights.bin", "upload_id": begun["upload_id"], "parts": parts}
    assert models.client.post(where % "complete", json=said).status_code == 200
    assert models.client.get(f"{FILES}/0/models/{model}/artifacts/data/weights.bin").content == b"abcde"


def test_a_model_without_a_run_gets_one_that_ends_with_it(models: Models, script: Script) -> None:
    made = models.create("lonely")
    run = script.get(made["source_run_id"])
    assert (run["info"]["run_name"], run["info"]["status"]) == ("lonely", "RUNNING")
    models.put(made["model_id"], "MLmodel", b"one")
    models.send("PATCH", made["model_id"], status=2)
    assert script.get(made["source_run_id"])["info"]["status"] == "FINISHED"
    failed = models.create("broken")
    models.send("PATCH", failed["model_id"], status="LOGGED_MODEL_UPLOAD_FAILED")
    assert script.get(failed["source_run_id"])["info"]["status"] == "FAILED"


def test_a_model_without_a_name_gets_one(models: Models) -> None:
    made = models.create("")
    assert made["name"] == f"model-{made['model_id'][2:8]}"


def test_tags_are_set_and_removed_and_parameters_are_added(models: Models) -> None:
    model = models.create("net", params=[{"key": "C", "value": "1"}])["model_id"]
    models.send("PATCH", f"{model}/tags", tags=[{"key": "stage", "value": "one"}, {"key": "a/b", "value": "2"}])
    models.send("DELETE", f"{model}/tags/a/b")
    models.send("POST", f"{model}/params", params=[{"key": "C", "value": "1"}, {"key": "tol", "value": "x" * 6000}])
    read = models.get(model)
    assert read["info"]["tags"] == [{"key": "stage", "value": "one"}]
    assert {each["key"]: len(each["value"]) for each in read["data"]["params"]} == {"C": 1, "tol": 6000}
    assert models.refused("DELETE", f"{model}/tags/a/b")[0] == "RESOURCE_DOES_NOT_EXIST"
    code, sentence = models.refused("POST", f"{model}/params", params=[{"key": "C", "value": "2"}])
    assert (code, sentence) == ("INVALID_PARAMETER_VALUE", "parameter 'C' of this model is already '1'")


def test_too_many_tags_or_parameters_are_refused(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.create("net", params=[{"key": "C", "value": "1"}])["model_id"]
    monkeypatch.setattr(logged_models, "MAX_PARAMETERS", 2)
    monkeypatch.setattr(logged_models, "MAX_TAGS", 1)
    monkeypatch.setattr(logged_models, "MAX_MODELS", 1)
    many = [{"key": key, "value": ""} for key in "ab"]
    assert "at most 2 parameters" in models.refused("POST", f"{model}/params", params=many)[1]
    models.send("PATCH", f"{model}/tags", tags=many[:1])
    assert "at most 1 tags" in models.refused("PATCH", f"{model}/tags", tags=many[1:])[1]
    run = models.get(model)["info"]["source_run_id"]
    assert "at most 1 models" in models.refused("POST", "", experiment_id="0", name="b", source_run_id=run)[1]


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "50%", 'say "a"', "it's", "a\\b", "a\nb", "  "])
def test_a_name_that_mlflow_does_not_take_is_refused(models: Models, name: str) -> None:
    code, sentence = models.refused("POST", "", experiment_id="0", name=name)
    assert code == "INVALID_PARAMETER_VALUE"
    assert sentence.endswith("leave out / : . % \" ' \\ and control characters")
    assert models.search() == []


def test_models_of_what_does_not_exist_are_refused(models: Models, script: Script, runs: Runs) -> None:
    launched = runs.add()
    assert models.refused("POST", "", experiment_id="9", name="net")[0] == "RESOURCE_DOES_NOT_EXIST"
    assert models.refused("POST", "", experiment_id="0", source_run_id="r_none")[0] == "RESOURCE_DOES_NOT_EXIST"
    assert "launched by Runyard" in models.refused("POST", "", experiment_id="0", source_run_id=launched)[1]
    assert models.refused("PATCH", "m-none", status=2) == ("RESOURCE_DOES_NOT_EXIST", "no logged model 'm-none'")
    assert models.put("m-none", "MLmodel", b"x").status_code == 404
    model = models.create("net")["model_id"]
    assert "no status 'GREAT'" in models.refused("PATCH", model, status="great")[1]
    outside = models.put(model, "../../other", b"x")
    assert outside.status_code in (400, 404)
    assert script.say("/logged-models/search", experiment_ids=["0"])["models"][0]["info"]["name"] == "net"


def test_a_deleted_model_is_found_only_on_request_and_its_files_stay(models: Models) -> None:
    model = models.create("net")["model_id"]
    models.put(model, "MLmodel", b"one")
    models.send("DELETE", model)
    assert models.search() == []
    code, sentence = models.refused("GET", model)
    assert (code, sentence) == ("RESOURCE_DOES_NOT_EXIST", f"no logged model '{model}' any more; it was deleted")
    assert models.script.ask(f"/logged-models/{model}", allow_deleted="true")["model"]["info"]["name"] == "net"
    assert models.client.get(f"{FILES}/0/models/{model}/artifacts/MLmodel").content == b"one"


def test_a_run_names_the_models_that_it_made_and_used(models: Models, script: Script) -> None:
    run = script.begin()
    model, other = models.create("net", run)["model_id"], models.create("old")["model_id"]
    script.say("/runs/outputs", run_id=run, models=[{"model_id": model, "step": "3"}])
    script.say("/runs/outputs", run_id=run, models=[{"model_id": model, "step": "7"}])
    dataset = {"dataset": {"name": "iris", "digest": "abc", "source_type": "local", "source": "iris.csv"}}
    script.say("/runs/log-inputs", run_id=run, datasets=[dataset], models=[{"model_id": other}])
    read = script.get(run)
    assert read["outputs"]["model_outputs"] == [{"model_id": model, "step": 7}]
    assert read["inputs"]["model_inputs"] == [{"model_id": other}]
    assert read["inputs"]["dataset_inputs"][0]["dataset"]["name"] == "iris"
    unknown = script.refused("/runs/outputs", run_id=run, models=[{"model_id": "m-none"}])
    assert unknown == ("RESOURCE_DOES_NOT_EXIST", "no logged model 'm-none'")


def test_metrics_that_name_a_model_are_those_of_the_run_and_of_the_model(models: Models, script: Script) -> None:
    run = script.begin()
    model = models.create("net", run)["model_id"]
    point = {"key": "acc", "value": 0.5, "timestamp": NOW, "step": 1, "model_id": model, "dataset_name": "iris"}
    script.say("/runs/log-batch", run_id=run, metrics=[point, point | {"value": 0.7, "step": 2}, {**point, "step": 0}])
    script.say("/runs/log-metric", run_id=run, **(point | {"key": "loss", "value": "NaN"}))
    assert {each["key"]: each["value"] for each in script.get(run)["data"]["metrics"]} == {"acc": 0.7, "loss": "NaN"}
    metrics = models.get(model)["data"]["metrics"]
    assert [(each["key"], each["value"], each["step"], each["dataset_name"]) for each in metrics] == [
        ("acc", 0.5, 0, "iris"),
        ("acc", 0.5, 1, "iris"),
        ("acc", 0.7, 2, "iris"),
        ("loss", "NaN", 1, "iris"),
    ]
    code, _ = script.refused("/runs/log-metric", run_id=run, **(point | {"key": "other", "model_id": "m-none"}))
    assert code == "RESOURCE_DOES_NOT_EXIST"
    assert "other" not in {each["key"] for each in script.get(run)["data"]["metrics"]}


def test_points_that_a_client_links_to_a_model_are_not_added_to_the_run_again(models: Models, script: Script) -> None:
    run = script.begin()
    script.log(run, acc=[0.1, 0.2, 0.3], loss=[2.0, "NaN", 1.0])
    model = models.create("net", run)["model_id"]
    # The first two are there already.
    points: list[tuple[str, Any, int]] = [("acc", 0.2, 1), ("loss", "NaN", 1), ("acc", 0.25, 1), ("error", 0.5, 0)]
    linked = [
        {"key": key, "value": value, "step": step, "timestamp": NOW + 1000 * step, "model_id": model}
        for key, value, step in points
    ]
    for _ in range(2):
        script.say("/runs/log-batch", run_id=run, metrics=linked)
    history = {
        key: [
            (each["step"], each["value"])
            for each in script.ask("/metrics/get-history", run_id=run, metric_key=key)["metrics"]
        ]
        for key in ("acc", "loss", "error")
    }
    assert history == {
        "acc": [(0, 0.1), (1, 0.2), (1, 0.25), (2, 0.3)],
        "loss": [(0, 2.0), (1, "NaN"), (2, 1.0)],
        "error": [(0, 0.5)],
    }
    metrics = models.get(model)["data"]["metrics"]
    assert [(each["key"], each["value"], each["step"]) for each in metrics] == [
        ("acc", 0.2, 1),
        ("error", 0.5, 0),
        ("loss", "NaN", 1),
    ]


@pytest.fixture
def three(models: Models, script: Script) -> Models:
    """Three models of a run with different metrics, tags and parameters."""
    run = script.begin()
    for number, name in enumerate(("one", "two", "three"), 1):
        parameters, tags = [{"key": "C", "value": str(number)}], [{"key": "odd", "value": str(number % 2)}]
        model = models.create(name, run, params=parameters, tags=tags)["model_id"]
        metric = {"key": "acc", "value": number / 10, "timestamp": NOW, "model_id": model}
        script.say("/runs/log-metric", run_id=run, **metric, dataset_name="train", dataset_digest="d")
        script.say("/runs/log-metric", run_id=run, **(metric | {"value": 1 - number / 10}), dataset_name="test")
    return models


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("", {"one", "two", "three"}),
        ("name = 'two'", {"two"}),
        ("name LIKE 't%'", {"two", "three"}),
        ("attributes.name IN ('one', 'two')", {"one", "two"}),
        ("metrics.acc > 0.75", {"one", "two"}),
        ("params.C = '3'", {"three"}),
        ("tags.odd = '1' AND params.C != '1'", {"three"}),
        ("creation_timestamp > 0", {"one", "two", "three"}),
        ("status = 'READY'", set()),
    ],
)
def test_a_filter_finds_models(three: Models, filter: str, found: set[str]) -> None:
    assert set(three.search(filter)) == found


def test_metrics_can_be_searched_on_one_dataset(three: Models) -> None:
    assert set(three.search("metrics.acc > 0.25", datasets=[{"dataset_name": "train"}])) == {"three"}
    digest = [{"dataset_name": "train", "dataset_digest": "other"}]
    assert three.search("metrics.acc > 0", datasets=digest) == []


def test_models_are_found_in_the_requested_order_and_page_by_page(three: Models) -> None:
    by_train = [{"field_name": "metrics.acc", "ascending": False, "dataset_name": "train"}]
    assert three.search(order_by=by_train) == ["three", "two", "one"]
    assert three.search(order_by=[{"field_name": "name"}]) == ["one", "three", "two"]
    assert three.search(order_by=[{"field_name": "params.C"}]) == ["one", "two", "three"]
    first = three.script.say("/logged-models/search", experiment_ids=["0"], max_results=2)
    more = {"page_token": first["next_page_token"]}
    assert len(first["models"]) == 2
    assert len(three.search(**more)) == 1


@pytest.mark.parametrize("filter", ["metrics.acc = 'a'", "name > 3", "color = 'red'", "name = 'a' OR name = 'b'"])
def test_a_filter_that_means_nothing_is_refused(three: Models, filter: str) -> None:
    code, _ = three.refused("POST", "search", experiment_ids=["0"], filter=filter)
    assert code == "INVALID_PARAMETER_VALUE"
    wrong = [{"field_name": "name", "ascending": "yes"}]
    assert "true or false" in three.refused("POST", "search", experiment_ids=["0"], order_by=wrong)[1]


def test_models_go_to_the_trash_and_for_good_with_their_run(models: Models, script: Script, engine: Engine) -> None:
    made = models.create("net")
    run = made["source_run_id"]
    models.put(made["model_id"], "MLmodel", b"one")
    models.send("PATCH", made["model_id"], status=2)
    script.say("/runs/delete", run_id=run)
    assert models.search() == []
    assert models.put(made["model_id"], "MLmodel", b"two").status_code == 400
    for method, path, said in (
        ("PATCH", "", {"status": 3}),
        ("DELETE", "", {}),
        ("PATCH", "/tags", {"tags": [{"key": "a", "value": "1"}]}),
        ("POST", "/params", {"params": [{"key": "a", "value": "1"}]}),
    ):
        refused = models.refused(method, made["model_id"] + path, **said)
        assert refused == ("INVALID_STATE", f"run {run} is in the trash; restore it first")
    kept = models.get(made["model_id"])
    assert (kept["info"]["status"], kept["info"]["tags"], kept["data"]["params"]) == ("LOGGED_MODEL_READY", [], [])
    script.say("/runs/restore", run_id=run)
    assert models.search() == ["net"]
    script.say("/runs/delete", run_id=run)
    with writing(engine) as connection:
        assert purge_runs(connection, time.time() + 1) == [run]
    assert models.refused("GET", made["model_id"])[0] == "RESOURCE_DOES_NOT_EXIST"


@given(st.text(min_size=1, max_size=300), st.uuids())
def test_every_name_gets_a_folder_with_one_name_that_file_systems_take(name: str, id: Any) -> None:
    start, _, folder = folder_for(f"m-{id.hex}", name).partition("/")
    assert start == "models"
    assert folder.isprintable()
    assert not {"/", "\\"} & set(folder)
    assert folder not in (".", "..")
    assert len(folder.encode()) <= 255
    assert folder.endswith(id.hex[:12])
