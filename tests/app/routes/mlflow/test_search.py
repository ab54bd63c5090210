"""MLflow's search language: the common part is understood, all else is refused in a sentence, nothing is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.errors import Invalid
from app.routes.mlflow.filters import Sql, run_condition
from tests.conftest import Runs

if TYPE_CHECKING:
    from tests.app.routes.mlflow.conftest import Script


@pytest.fixture
def three(script: Script) -> Script:
    """Three runs that differ."""
    for i, name in enumerate(("one", "two", "three")):
        run = script.begin(name=name, tags=[{"key": "my key", "value": name.upper()}])
        script.log(run, **{"val__acc": [0.1, 0.3 * (i + 1)], "a.b": [float(i)]})
        script.say("/runs/log-parameter", run_id=run, key="lr", value=f"0.{i}")
        if i:
            script.end(run, "FINISHED" if i == 1 else "FAILED")
    empty = script.begin(name="empty")
    script.say("/runs/update", run_id=empty, status="KILLED")
    return script


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ("", {"one", "two", "three", "empty"}),
        ("metrics.`val/acc` > 0.5", {"two", "three"}),
        ("metrics.val/acc >= 0.6 and metric.val/acc <= 0.6", {"two"}),
        ('metrics."val/acc" != 0.3', {"two", "three"}),
        ("metrics.a.b = 2", {"three"}),
        ("params.lr = '0.1'", {"two"}),
        ("params.lr IN ('0.1', '0.2')", {"two", "three"}),
        ("params.lr NOT IN ('0.1', '0.2')", {"one"}),
        ("params.lr IS NULL", {"empty"}),
        ("parameter.lr IS NOT NULL AND tags.`my key` = 'ONE'", {"one"}),
        ("tags.\"my key\" LIKE 'T%'", {"two", "three"}),
        ("tags.\"my key\" LIKE 't%'", set()),
        ("tags.\"my key\" ILIKE 't%'", {"two", "three"}),
        ("tags.`my key` LIKE '_NE'", {"one"}),
        ("attributes.status = 'FINISHED'", {"two"}),
        ("status != 'finished' AND status != 'KILLED'", {"one", "three"}),
        ("attribute.status IN ('FAILED', 'RUNNING')", {"one", "three"}),
        ("run_name = 'two'", {"two"}),
        ("attributes.start_time > 0 and end_time > 1", {"two", "three", "empty"}),
        ("params.lr = 'it''s'", set()),
        ('params.lr = "0.1" AND tags.`my key` = "TWO"', {"two"}),
        ("params.lr LIKE '*'", set()),
    ],
)
def test_a_filter_lets_through_what_it_says(filter: str, names: set[str], three: Script) -> None:
    assert set(three.found(filter)) == names


@pytest.mark.parametrize(
    ("filter", "words"),
    [
        ("metrics.a > 1 OR metrics.b > 1", "OR is not supported"),
        ("metrics.a > 'much'", "compared with a number"),
        ("metrics.a LIKE '1'", "compared with a number"),
        ("params.a > '1'", "is text"),
        ("params.a = 1", "is text"),
        ("size = 'a'", "no attribute 'size'"),
        ("weights.a = 'b'", "unknown prefix 'weights.'"),
        ("status = 'DONE'", "no status 'DONE'"),
        ("metrics.a >", "incomplete: expected a value"),
        ("metrics.a", "incomplete: expected a comparison"),
        ("metrics.a 5", "is not a comparison"),
        ("params.a = b", "is not a value"),
        ("params.a = 'b", "cannot parse the filter"),
        ("params.a IN 'b'", "values in parentheses"),
        ("params.a IN (1)", "quoted text"),
        ("a; DROP TABLE run", "no attribute"),
        ("(metrics.a > 1)", "expected a name"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence(filter: str, words: str, script: Script) -> None:
    code, sentence = script.refused("/runs/search", experiment_ids=["0"], filter=filter)
    assert code == "INVALID_PARAMETER_VALUE"
    assert words in sentence


@given(st.text(max_size=60))
def test_no_filter_brings_the_reader_down_or_gets_into_the_statement(said: str) -> None:
    sql = Sql()
    try:
        condition = run_condition(f"params.a = {said}", sql)
    except Invalid:
        return
    assert all(str(value) not in condition for value in sql.values.values() if len(str(value)) > 12)


def test_runs_are_sorted_by_what_they_logged_and_those_without_come_last(three: Script) -> None:
    assert three.found(order_by=["metrics.`val/acc` DESC"]) == ["three", "two", "one", "empty"]
    assert three.found(order_by=["params.lr ASC"])[:3] == ["one", "two", "three"]
    assert three.found(order_by=["tags.`my key` ASC"])[:3] == ["one", "three", "two"]
    assert three.found(order_by=["attributes.run_name DESC"])[0] == "two"
    assert three.refused("/runs/search", experiment_ids=["0"], order_by=["metrics.a SIDEWAYS"])[0]


def test_a_search_goes_on_from_page_to_page(three: Script) -> None:
    seen: list[str] = []
    token = ""
    for _ in range(4):
        page = three.say(
            "/runs/search", experiment_ids=["0"], max_results=1, page_token=token, order_by=["run_name ASC"]
        )
        seen += [run["info"]["run_name"] for run in page["runs"]]
        token = page.get("next_page_token", "")
    assert seen == ["empty", "one", "three", "two"]
    assert not token


def test_deleted_runs_are_found_where_they_are_asked_for(three: Script, runs: Runs) -> None:
    run = runs.sql("SELECT id FROM run WHERE name = 'two'")[0][0]
    three.say("/runs/delete", run_id=run)
    assert "two" not in three.found()
    assert three.found(run_view_type="DELETED_ONLY") == ["two"]
    assert "two" in three.found(run_view_type="ALL")


def test_runs_that_were_launched_are_in_no_experiment(three: Script, runs: Runs) -> None:
    runs.add()
    assert len(three.found()) == 4


def test_a_history_is_told_whole_or_page_by_page(script: Script) -> None:
    run = script.begin()
    script.log(run, loss=[5.0, 4.0, 3.0, 2.0, 1.0])
    whole = script.ask("/metrics/get-history", run_id=run, metric_key="loss")["metrics"]
    assert [(each["step"], each["value"]) for each in whole] == list(enumerate([5.0, 4.0, 3.0, 2.0, 1.0]))
    first = script.ask("/metrics/get-history", run_id=run, metric_key="loss", max_results=3)
    rest = script.ask(
        "/metrics/get-history", run_id=run, metric_key="loss", max_results=3, page_token=first["next_page_token"]
    )
    assert first["metrics"] + rest["metrics"] == whole
    assert "next_page_token" not in rest
    assert script.ask("/metrics/get-history", run_id=run, metric_key="none")["metrics"] == []


def test_what_is_not_supported_is_refused_with_a_code(script: Script) -> None:
    put = script.client.put("/api/2.0/mlflow-artifacts/presigned/0/a.txt", content=b"x")
    assert (put.status_code, put.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    other = script.client.post("/api/2.0/mlflow/model-versions/transition-stage", json={"name": "a"})
    assert (other.status_code, other.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
