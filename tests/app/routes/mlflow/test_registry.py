"""Registered models, their versions and aliases, with the requests that MLflow's client sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.actions.model_registry import checked_alias, checked_name
from app.contract.errors import Invalid
from tests.conftest import Runs

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script

PREFIX = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


class Registry:
    """The registry, as a script sees it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.client = script.client

    def _call(self, method: str, path: str, said: dict[str, Any]) -> Any:
        if method == "GET":
            return self.client.get(PREFIX + path, params=said)
        return self.client.request(method, PREFIX + path, json=said)

    def send(self, method: str, path: str, **said: Any) -> Any:
        """A call that must be taken."""
        answer = self._call(method, path, said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, path: str, **said: Any) -> tuple[str, str]:
        """A call that is not taken: its code and its sentence."""
        answer = self._call(method, path, said)
        assert answer.status_code >= 400, answer.text
        return answer.json()["error_code"], answer.json()["message"]

    def model(self, run: str = "") -> tuple[str, str]:
        """A complete logged model with a file; gives its id and its run."""
        source = {"source_run_id": run} if run else {}
        info = self.script.say("/logged-models", experiment_id="0", name="net", **source)["model"]["info"]
        self.client.put(f"{FILES}/0/models/{info['model_id']}/artifacts/MLmodel", content=b"flavors")
        self.send("PATCH", f"/logged-models/{info['model_id']}", status=2)
        return info["model_id"], info["source_run_id"]

    def create(self, name: str = "digits", **said: Any) -> Any:
        return self.send("POST", "/registered-models/create", name=name, **said)["registered_model"]

    def add(self, source: str, name: str = "digits", **said: Any) -> Any:
        """Add a version."""
        return self.send("POST", "/model-versions/create", name=name, source=source, **said)["model_version"]

    def get(self, name: str = "digits") -> Any:
        return self.send("GET", "/registered-models/get", name=name)["registered_model"]

    def address(self, version: str, name: str = "digits") -> str:
        answer = self.send("GET", "/model-versions/get-download-uri", name=name, version=version)
        return str(answer["artifact_uri"])

    def names(self, filter: str = "", **said: Any) -> list[str]:
        found = self.send("GET", "/registered-models/search", filter=filter, **said)
        return [model["name"] for model in found["registered_models"]]

    def versions(self, filter: str = "", **said: Any) -> list[tuple[str, str]]:
        found = self.send("GET", "/model-versions/search", filter=filter, **said)
        return [(version["name"], version["version"]) for version in found["model_versions"]]


@pytest.fixture
def registry(script: Script) -> Registry:
    return Registry(script)


def test_a_logged_model_becomes_a_version_that_is_found_by_number_and_alias(registry: Registry) -> None:
    model, run = registry.model()
    registry.create(description="digits of ten classes", tags=[{"key": "team", "value": "a"}])
    made = registry.add(f"models:/{model}", tags=[{"key": "ok", "value": "yes"}])
    assert (made["version"], made["status"], made["run_id"], made["model_id"]) == ("1", "READY", run, model)
    registry.send("POST", "/registered-models/alias", name="digits", alias="champion", version="1")
    read = registry.get()
    assert (read["description"], read["tags"]) == ("digits of ten classes", [{"key": "team", "value": "a"}])
    assert read["aliases"] == [{"alias": "champion", "version": "1"}]
    assert [version["version"] for version in read["latest_versions"]] == ["1"]
    found = registry.send("GET", "/registered-models/alias", name="digits", alias="champion")["model_version"]
    assert (found["version"], found["aliases"], found["tags"]) == ("1", ["champion"], [{"key": "ok", "value": "yes"}])
    assert registry.address("1") == f"mlflow-artifacts:/0/models/{model}/artifacts"


def test_files_of_a_run_become_a_version(registry: Registry, script: Script) -> None:
    run = script.begin()
    registry.client.put(f"{FILES}/0/{run}/artifacts/model/MLmodel", content=b"flavors")
    registry.create()
    where = f"mlflow-artifacts:/0/{run}/artifacts/model"
    for source in (where, f"runs:/{run}/model"):
        made = registry.add(source, run_id=run)
        assert (made["run_id"], "model_id" in made) == (run, False)
        assert registry.address(made["version"]) == where


def test_a_version_is_copied_to_another_name(registry: Registry) -> None:
    model, run = registry.model()
    registry.create("staging")
    registry.create("production")
    registry.add(f"models:/{model}", "staging")
    copied = registry.add("models:/staging/1", "production")
    assert (copied["run_id"], copied["model_id"]) == (run, model)
    assert registry.address("1", "production") == registry.address("1", "staging")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("s3://bucket/model", "INVALID_PARAMETER_VALUE"),
        ("/etc/passwd", "INVALID_PARAMETER_VALUE"),
        ("file:///tmp/model", "INVALID_PARAMETER_VALUE"),
        ("models:/m-none", "RESOURCE_DOES_NOT_EXIST"),
        ("models:/digits/7", "RESOURCE_DOES_NOT_EXIST"),
        ("runs:/r_none/model", "RESOURCE_DOES_NOT_EXIST"),
        ("runs:/RUN/../other", "INVALID_PARAMETER_VALUE"),
        ("runs:/RUN/nothing", "RESOURCE_DOES_NOT_EXIST"),
        ("runs:/RUN", "INVALID_PARAMETER_VALUE"),
        ("runs:/LAUNCHED/model", "INVALID_STATE"),
    ],
)
def test_what_runyard_does_not_have_becomes_no_version(
    registry: Registry, script: Script, runs: Runs, source: str, code: str
) -> None:
    registry.create()
    given = source.replace("RUN", script.begin(), 1) if "RUN" in source else source.replace("LAUNCHED", runs.add())
    assert registry.refused("POST", "/model-versions/create", name="digits", source=given)[0] == code
    assert registry.versions() == []
    assert registry.get()["latest_versions"] == []


def test_numbers_of_versions_are_never_used_again(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    for _ in range(2):
        registry.add(f"models:/{model}")
    registry.send("DELETE", "/model-versions/delete", name="digits", version="2")
    assert registry.refused("GET", "/model-versions/get", name="digits", version="2") == (
        "RESOURCE_DOES_NOT_EXIST",
        "registered model 'digits' has no version 2",
    )
    assert registry.add(f"models:/{model}")["version"] == "3"


def test_an_alias_moves_and_goes_with_its_version(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    for version in ("1", "2"):
        registry.add(f"models:/{model}")
        registry.send("POST", "/registered-models/alias", name="digits", alias="best", version=version)
    assert registry.get()["aliases"] == [{"alias": "best", "version": "2"}]
    registry.send("POST", "/registered-models/alias", name="digits", alias="old", version="1")
    registry.send("DELETE", "/registered-models/alias", name="digits", alias="old")
    registry.send("DELETE", "/model-versions/delete", name="digits", version="2")
    assert registry.get()["aliases"] == []
    code, sentence = registry.refused("GET", "/registered-models/alias", name="digits", alias="best")
    assert (code, sentence) == ("INVALID_PARAMETER_VALUE", "registered model 'digits' has no alias 'best'")


def test_an_alias_cannot_point_to_nothing_or_be_read_as_a_number(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    registry.add(f"models:/{model}")
    for alias, version in (("latest", "1"), ("v2", "1"), ("a b", "1"), ("", "1")):
        code, _ = registry.refused("POST", "/registered-models/alias", name="digits", alias=alias, version=version)
        assert code == "INVALID_PARAMETER_VALUE"
    code, _ = registry.refused("POST", "/registered-models/alias", name="digits", alias="best", version="2")
    assert code == "RESOURCE_DOES_NOT_EXIST"
    assert registry.get()["aliases"] == []


def test_a_name_is_taken_once_and_can_be_changed(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    registry.create("other")
    registry.add(f"models:/{model}")
    registry.send("POST", "/registered-models/alias", name="digits", alias="best", version="1")
    taken = ("RESOURCE_ALREADY_EXISTS", "registered model 'other' already exists")
    assert registry.refused("POST", "/registered-models/create", name="other") == taken
    assert registry.refused("POST", "/registered-models/rename", name="digits", new_name="other") == taken
    renamed = registry.send("POST", "/registered-models/rename", name="digits", new_name="numbers")
    assert renamed["registered_model"]["aliases"] == [{"alias": "best", "version": "1"}]
    assert registry.names() == ["numbers", "other"]
    assert registry.address("1", "numbers") == f"mlflow-artifacts:/0/models/{model}/artifacts"


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a:b", "a@b", ".", "..", "a\nb", "x" * 257])
def test_a_name_that_no_address_could_contain_is_refused(registry: Registry, name: str) -> None:
    assert registry.refused("POST", "/registered-models/create", name=name)[0] == "INVALID_PARAMETER_VALUE"
    assert registry.names() == []


def test_descriptions_and_tags_change(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    registry.add(f"models:/{model}")
    at = {"name": "digits", "version": "1"}
    for path, where in (("/registered-models", {"name": "digits"}), ("/model-versions", at)):
        registry.send("PATCH", f"{path}/update", **where, description="new")
        registry.send("POST", f"{path}/set-tag", **where, key="a", value="1")
        registry.send("POST", f"{path}/set-tag", **where, key="b", value="2")
        registry.send("DELETE", f"{path}/delete-tag", **where, key="a")
    read = registry.get()
    assert (read["description"], read["tags"]) == ("new", [{"key": "b", "value": "2"}])
    version = registry.send("GET", "/model-versions/get", **at)["model_version"]
    assert (version["description"], version["tags"]) == ("new", [{"key": "b", "value": "2"}])


def test_the_newest_version_has_no_stage(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    for _ in range(2):
        registry.add(f"models:/{model}")
    found = registry.send("POST", "/registered-models/get-latest-versions", name="digits")["model_versions"]
    assert [version["version"] for version in found] == ["2"]
    staged = registry.send("GET", "/registered-models/get-latest-versions", name="digits", stages="Production")
    assert staged["model_versions"] == []


def test_models_and_versions_are_found_by_filters_in_order_and_page_by_page(registry: Registry) -> None:
    (model, run), (other, _) = registry.model(), registry.model()
    registry.create("cats", tags=[{"key": "team", "value": "a"}])
    registry.create("dogs")
    registry.add(f"models:/{model}", "cats")
    registry.add(f"models:/{other}", "cats", tags=[{"key": "ok", "value": "yes"}])
    registry.add(f"models:/{model}", "dogs")
    # What MLflow's client adds to each search.
    assert registry.names("tag.`mlflow.prompt.is_prompt` != 'true'") == ["cats", "dogs"]
    assert registry.names("tag.`mlflow.prompt.is_prompt` = 'true'") == []
    assert registry.names("name LIKE 'd%'") == ["dogs"]
    assert registry.names("tags.team = 'a'") == ["cats"]
    assert registry.names(order_by="name DESC") == ["dogs", "cats"]
    first = registry.send("GET", "/registered-models/search", max_results=1)
    assert registry.names(max_results=1, page_token=first["next_page_token"]) == ["dogs"]
    assert registry.versions("name='cats'", order_by="version_number ASC") == [("cats", "1"), ("cats", "2")]
    assert sorted(registry.versions(f"run_id = '{run}'")) == [("cats", "1"), ("dogs", "1")]
    assert registry.versions("tags.ok = 'yes'") == [("cats", "2")]
    assert registry.versions("version_number > 1") == [("cats", "2")]
    assert registry.versions(f"source_path = 'models:/{other}'") == [("cats", "2")]
    assert registry.refused("GET", "/model-versions/search", filter="metrics.acc > 1")[0] == "INVALID_PARAMETER_VALUE"


def test_a_run_that_a_version_comes_from_cannot_be_deleted(registry: Registry, script: Script) -> None:
    model, run = registry.model()
    registry.create()
    registry.add(f"models:/{model}")
    number = registry.client.get(f"/api/v1/runs/{run}").json()["number"]
    assert script.refused("/runs/delete", run_id=run) == (
        "INVALID_STATE",
        f"the model version 1 of digits comes from run #{number}; remove it first, on the page Models or with MLflow",
    )
    assert registry.client.post("/runs/delete", data={"runs": run}).status_code == 200
    assert script.get(run)["info"]["lifecycle_stage"] == "active"
    registry.send("DELETE", "/model-versions/delete", name="digits", version="1")
    script.say("/runs/delete", run_id=run)
    assert script.get(run)["info"]["lifecycle_stage"] == "deleted"


def test_nothing_of_a_run_in_the_trash_becomes_a_version(registry: Registry, script: Script) -> None:
    model, run = registry.model()
    registry.create()
    script.say("/runs/delete", run_id=run)
    code, sentence = registry.refused("POST", "/model-versions/create", name="digits", source=f"models:/{model}")
    assert (code, sentence) == ("INVALID_STATE", f"run {run} is in the trash; restore it first")


def test_a_version_says_that_its_files_are_gone(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    registry.add(f"models:/{model}")
    registry.client.delete(f"{FILES}/0/models/{model}/artifacts/MLmodel")
    version = registry.send("GET", "/model-versions/get", name="digits", version="1")["model_version"]
    assert (version["status"], version["status_message"][:34]) == (
        "FAILED_REGISTRATION",
        "the files of this version were del",
    )


def test_a_registered_model_is_removed_with_its_versions_and_not_their_files(registry: Registry) -> None:
    model, _ = registry.model()
    registry.create()
    registry.add(f"models:/{model}")
    registry.send("POST", "/registered-models/alias", name="digits", alias="best", version="1")
    registry.send("DELETE", "/registered-models/delete", name="digits")
    assert (registry.names(), registry.versions()) == ([], [])
    assert registry.client.get(f"{FILES}/0/models/{model}/artifacts/MLmodel").content == b"flavors"


def test_prompts_and_stages_are_not_supported(registry: Registry) -> None:
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    code, sentence = registry.refused("POST", "/registered-models/create", name="ask", tags=prompt)
    assert (code, "prompts" in sentence) == ("NOT_IMPLEMENTED", True)
    registry.create()
    assert registry.refused("POST", "/model-versions/transition-stage", name="digits")[0] == "NOT_IMPLEMENTED"


def _taken(check: Callable[[str], str], name: str) -> bool:
    try:
        return check(name) == name
    except Invalid:
        return False


@given(st.text(max_size=300))
@example("plain name")
def test_a_name_that_is_taken_is_one_step_of_an_address(name: str) -> None:
    one_step = name.isprintable() and name not in (".", "..") and not set("/:@") & set(name)
    assert _taken(checked_name, name) == (one_step and bool(name.strip()) and len(name) <= 256)


@given(st.text(st.sampled_from("vV1a-_ @é"), max_size=10))
@example("latest")
def test_an_alias_that_is_taken_is_no_number_and_not_latest(alias: str) -> None:
    plain = bool(alias) and all(each.isalnum() or each in "_-" for each in alias)
    number = alias[:1] in ("v", "V") and alias[1:].isdecimal()
    assert _taken(checked_alias, alias) == (plain and not number and alias != "latest")
