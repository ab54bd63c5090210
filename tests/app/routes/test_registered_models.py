"""The page Models shows what scripts registered with MLflow, beside Runyard's own names."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from app.routes.registered_models import SHOWN_VERSIONS

MLFLOW = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


class Registered:
    """A registered model with versions of one logged model."""

    def __init__(self, client: TestClient, name: str) -> None:
        self.client, self.name = client, name
        info = self.say("/logged-models", experiment_id="0", name="net")["model"]["info"]
        self.run, self.model = info["source_run_id"], info["model_id"]
        client.put(f"{FILES}/0/models/{self.model}/artifacts/MLmodel", content=b"x" * 1500)
        client.patch(f"{MLFLOW}/logged-models/{self.model}", json={"status": 2})
        self.say("/registered-models/create", name=name, description="<b>ten classes</b>")

    def say(self, path: str, **said: Any) -> Any:
        answer = self.client.post(MLFLOW + path, json=said)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def add(self) -> None:
        self.say("/model-versions/create", name=self.name, source=f"models:/{self.model}")

    def alias(self, alias: str, version: int) -> None:
        self.say("/registered-models/alias", name=self.name, alias=alias, version=str(version))

    def page(self) -> str:
        answer = self.client.get("/models")
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
def registered(client: TestClient) -> Registered:
    return Registered(client, "digits <1>")


def test_versions_are_shown_with_their_aliases_run_and_files(registered: Registered) -> None:
    registered.add()
    assert "models:/digits &lt;1&gt;/latest" in registered.page()
    registered.alias("champion", 1)
    page = registered.page()
    for shown in ("digits &lt;1&gt;", "Version 1", "champion", "models:/digits &lt;1&gt;@champion", "1.5 kB"):
        assert shown in page
    assert f'href="/runs/{registered.run}"' in page
    assert f"/runs/{registered.run}/files?folder=models/net-{registered.model[2:14]}" in page
    assert "&lt;b&gt;ten classes" in page
    assert registered.client.get(f"/runs/{registered.run}/files?folder=models/net-{registered.model[2:14]}").is_success


def test_a_version_without_files_says_so(registered: Registered) -> None:
    registered.add()
    assert "Its files are gone" not in registered.page()
    registered.client.delete(f"{FILES}/0/models/{registered.model}/artifacts/MLmodel")
    assert "Its files are gone" in registered.page()


def test_only_the_newest_versions_and_those_with_an_alias_are_shown(registered: Registered) -> None:
    for _ in range(SHOWN_VERSIONS + 3):
        registered.add()
    registered.alias("first", 1)
    page = registered.page()
    shown = [number for number in range(1, SHOWN_VERSIONS + 4) if f"<b>Version {number}</b>" in page]
    assert shown == [1, *range(4, SHOWN_VERSIONS + 4)]
    assert "and 2 earlier ones" in page


def test_a_version_and_then_its_name_are_removed_on_the_page(registered: Registered) -> None:
    registered.add()
    form = {"name": registered.name, "version": "1"}
    assert registered.client.post("/registered-models/delete", data=form).status_code == 200
    page = registered.page()
    assert "No versions." in page
    assert registered.client.post("/registered-models/delete", data=form).status_code == 404
    assert registered.client.post("/registered-models/delete", data={"name": registered.name}).status_code == 200
    assert "digits &lt;1&gt;" not in registered.page()
    assert registered.client.get(f"{FILES}/0/models/{registered.model}/artifacts/MLmodel").is_success


def remove(registered: Registered, version: int) -> str:
    """Remove a version on the page; gives the ID of the action."""
    form = {"name": registered.name, "version": str(version)}
    answer = registered.client.post("/registered-models/delete", data=form, follow_redirects=False)
    assert answer.status_code == 303
    return str(parse_qs(urlsplit(answer.headers["location"]).query)["act"][0])


def test_a_removed_version_can_be_brought_back_with_its_number_and_aliases(registered: Registered) -> None:
    for _ in range(2):
        registered.add()
    registered.alias("champion", 1)
    registered.alias("old", 1)
    registered.say("/model-versions/set-tag", name=registered.name, version="1", key="a", value="b")
    before = registered.client.get(f"{MLFLOW}/model-versions/get", params={"name": registered.name, "version": "1"})
    act = remove(registered, 1)
    page = registered.client.get(f"/models?act={act}").text
    assert "Version 1 of digits &lt;1&gt; removed." in page
    registered.alias("old", 2)
    undo = {"act": act, "back": "/models"}
    assert registered.client.post("/runs/undo", data=undo).status_code == 200
    after = registered.client.get(f"{MLFLOW}/model-versions/get", params={"name": registered.name, "version": "1"})
    version, expected = after.json()["model_version"], before.json()["model_version"]
    # An alias that has moved on stays where it is.
    assert (version.pop("aliases"), sorted(expected.pop("aliases"))) == (["champion"], ["champion", "old"])
    assert version == expected
    assert registered.client.post("/runs/undo", data=undo).status_code == 409
    assert "removed." not in registered.client.get(f"/models?act={act}").text


def test_a_version_does_not_come_back_without_its_run_or_its_name(registered: Registered) -> None:
    registered.add()
    act = remove(registered, 1)
    registered.say("/runs/delete", run_id=registered.run)
    answer = registered.client.post("/runs/undo", data={"act": act})
    assert (answer.status_code, "is in the trash" in answer.text) == (409, True)
    registered.say("/runs/restore", run_id=registered.run)
    registered.client.post("/registered-models/delete", data={"name": registered.name})
    assert registered.client.post("/runs/undo", data={"act": act}).status_code == 404
    registered.say("/registered-models/create", name=registered.name)
    assert registered.client.post("/runs/undo", data={"act": act}).status_code == 409
