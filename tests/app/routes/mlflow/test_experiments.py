"""Experiments, as a client makes, finds, renames and deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Runs

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script


def names(script: Script, **said: object) -> list[str]:
    return [each["name"] for each in script.say("/experiments/search", **said)["experiments"]]


def test_the_experiment_of_scripts_that_name_none_is_there_from_the_start(script: Script) -> None:
    assert script.ask("/experiments/get", experiment_id="0")["experiment"]["name"] == "Default"
    assert script.refused("/experiments/delete", experiment_id="0")[0] == "INVALID_PARAMETER_VALUE"


def test_an_experiment_is_found_by_its_id_and_by_its_name(script: Script) -> None:
    made = script.say("/experiments/create", name="scans", tags=[{"key": "team", "value": "blue"}])["experiment_id"]
    one = script.ask("/experiments/get", experiment_id=made)["experiment"]
    assert one == script.ask("/experiments/get-by-name", experiment_name="scans")["experiment"]
    assert (one["name"], one["lifecycle_stage"]) == ("scans", "active")
    assert one["tags"] == [{"key": "team", "value": "blue"}]


def test_a_name_is_taken_once(script: Script) -> None:
    script.say("/experiments/create", name="scans")
    code, sentence = script.refused("/experiments/create", name="scans")
    assert code == "RESOURCE_ALREADY_EXISTS"
    assert "'scans'" in sentence


def test_an_experiment_that_is_not_there_is_told_so_that_a_client_makes_it(script: Script) -> None:
    answer = script.client.get("/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "none"})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.both_databases
def test_a_renamed_experiment_takes_its_runs_along(script: Script, runs: Runs) -> None:
    made = script.say("/experiments/create", name="scans")["experiment_id"]
    run = script.begin(made)
    script.say("/experiments/update", experiment_id=made, new_name="better scans")
    assert runs.get(run).family == runs.get(run).config.family == "better scans"
    script.say("/experiments/create", name="other")
    assert script.refused("/experiments/update", experiment_id=made, new_name="other")[0] == "RESOURCE_ALREADY_EXISTS"


def test_a_deleted_experiment_takes_no_run_until_it_is_restored(script: Script) -> None:
    made = script.say("/experiments/create", name="scans")["experiment_id"]
    script.say("/experiments/delete", experiment_id=made)
    assert script.ask("/experiments/get", experiment_id=made)["experiment"]["lifecycle_stage"] == "deleted"
    assert "trash" in script.refused("/runs/create", experiment_id=made)[1]
    assert "trash" in script.refused("/experiments/create", name="scans")[1]
    script.say("/experiments/restore", experiment_id=made)
    script.begin(made)


def test_tags_of_an_experiment_are_set_and_taken_away(script: Script) -> None:
    script.say("/experiments/set-experiment-tag", experiment_id="0", key="team", value="blue")
    assert script.ask("/experiments/get", experiment_id="0")["experiment"]["tags"][0]["value"] == "blue"
    script.say("/experiments/delete-experiment-tag", experiment_id="0", key="team")
    assert script.ask("/experiments/get", experiment_id="0")["experiment"]["tags"] == []


def test_experiments_are_searched_sorted_and_paged(script: Script) -> None:
    for name in ("a1", "a2", "b1"):
        script.say("/experiments/create", name=name, tags=[{"key": "kind", "value": name[0]}])
    assert names(script, filter="name LIKE 'a%'", order_by=["name ASC"]) == ["a1", "a2"]
    assert names(script, filter="tags.kind = 'b'") == ["b1"]
    first = script.say("/experiments/search", order_by=["name DESC"], max_results=2)
    assert [each["name"] for each in first["experiments"]] == ["b1", "a2"]
    rest = script.say("/experiments/search", order_by=["name DESC"], max_results=2, page_token=first["next_page_token"])
    assert [each["name"] for each in rest["experiments"]] == ["a1", "Default"]
    assert "next_page_token" not in rest
    script.say(
        "/experiments/delete",
        experiment_id=script.ask("/experiments/get-by-name", experiment_name="b1")["experiment"]["experiment_id"],
    )
    assert names(script, view_type="DELETED_ONLY") == ["b1"]
    assert len(names(script, view_type="ALL")) == 4


@pytest.mark.parametrize(
    "said",
    [
        {"view_type": "SOME"},
        {"order_by": ["size"]},
        {"page_token": "x"},
        {"filter": "metrics.a > 1"},
        {"max_results": 0},
        {"filter": "size = 'a'"},
    ],
)
def test_a_search_that_is_not_understood_is_refused(said: dict[str, object], script: Script) -> None:
    assert script.refused("/experiments/search", **said)[0] == "INVALID_PARAMETER_VALUE"
