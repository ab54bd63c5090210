"""Several values in the form of a program: what makes a sweep, what is said before it, and where a launch leads."""

from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.contract.settings import Settings
from app.routes.program_variations import read_variations
from tests.app.routes.launch.sent import command_of, filled_in
from tests.conftest import Runs
from tests.signed_program import program, signed


@pytest.fixture(autouse=True)
def added(client: TestClient, settings: Settings) -> None:
    """The program "tune"."""
    assert client.put("/api/v1/programs/tune", json=signed(settings)).status_code == 200


@pytest.mark.parametrize(
    ("form", "values", "ranges"),
    [
        ({"v-lr": ["0.1, 0.5,"]}, {"lr": ["0.1", "0.5"]}, {}),
        ({"v-lr": ["0.1", "0.5"]}, {"lr": ["0.1", "0.5"]}, {}),
        ({"v-lr": ["0.1, 1e-1, .1"]}, {}, {}),
        ({"v-lr": [","]}, {}, {}),
        ({"v-lr": ["log 1e-4 .. 1e-1"]}, {}, {"lr": {"low": 1e-4, "high": 0.1, "log": True}}),
        ({"v-epochs": ["2..8 step 2"]}, {}, {"epochs": {"low": 2, "high": 8, "step": 2}}),
        ({"also.v-optimizer": ["sgd"]}, {"optimizer": ["adamw", "sgd"]}, {}),
        ({"v-optimizer": ["sgd"], "also.v-optimizer": ["sgd"]}, {}, {}),
        ({"v-optimizer": ["sgd", "adamw"]}, {"optimizer": ["sgd", "adamw"]}, {}),
        ({"v-augment": [""], "also.v-augment": ["true"]}, {"augment": ["false", "true"]}, {}),
        ({"v-note": ["a, b", "c .. d"], "also.v-note": ["x"]}, {}, {}),
    ],
)
def test_several_different_values_vary_a_field(
    form: dict[str, list[str]], values: dict[str, Any], ranges: dict[str, Any]
) -> None:
    found = read_variations(program(), form)
    assert (found.values, found.ranges) == (values, ranges)


def test_the_number_of_runs_is_said_before_the_launch(client: TestClient, look: Any) -> None:
    page = look(client.get("/programs/tune?v-lr=0.1, 0.5&also.v-optimizer=sgd&seeds=2&v-epochs=3"))
    assert page.words["launch-button"] == "Launch 8 runs"
    assert page.words["sweep-sum"] == "8 runs · 4 configurations × 2 seeds, every combination"
    assert page.words["sweep-examples"].startswith("lr 0.1, optimizer adamw, seed 0; lr 0.1, optimizer sgd, seed 0")
    assert page.words["mark-v-lr"].startswith("2 values · reset")
    assert page.words["filled-command"].startswith("/venv/bin/python train.py --lr={lr} --epochs 3")
    assert page.one("input", name="v-lr")["value"] == "0.1, 0.5"
    assert page.one("input", name="also.v-optimizer", value="sgd")["checked"] == ""
    assert page.one("a", data_back="v-lr")["href"] == "/programs/tune?also.v-optimizer=sgd&seeds=2&v-epochs=3"
    single = look(client.get("/programs/tune?v-lr=0.1"))
    assert single.words["launch-button"] == "Launch"
    assert "sweep-sum" not in single.words


@pytest.mark.parametrize(
    ("form", "field", "sentence"),
    [
        ({"v-lr": "0.1, 7"}, "v-lr", "Lr must be at most 1, not 7.0."),
        ({"v-lr": "0.1, x"}, "v-lr", "Lr must be a number, not 'x'."),
        ({"v-lr": "log 0 .. 1"}, "v-lr", "Lr low must be greater than 0 if log is true."),
        ({"v-lr": "0.5 .. 3"}, "v-lr", "Lr must be at most 1, not 3.0."),
        ({"v-epochs": "1.5 .. 3"}, "v-epochs", "Epochs must be a whole number, not '1.5'."),
        ({"also.v-optimizer": "rm"}, "v-optimizer", "Optimizer must be one of sgd, adamw, not 'rm'."),
        ({"v-seed": "1, 2"}, "v-seed", "Seed cannot have several values; set seeds"),
        ({"v-lr": "0.1 .. 0.5", "method": "grid"}, "v-lr", "A grid needs discrete values for lr"),
        ({"v-lr": "0.1 .. 0.5", "draws": "x"}, "draws", "Draws must be a whole number."),
        ({"v-lr": "0.1, 0.5", "direction": "up"}, "direction", "Direction must be one of maximize or minimize."),
        ({"v-lr": "0.1, 0.5", "pruning": "best"}, "pruning", "Pruning must be one of median or asha."),
        ({"v-lr": "0.1 .. 0.5", "draws": "900", "seeds": "2"}, "method", "This sweep would have 1,800 runs"),
        ({"v-lr": "0.1, 0.5", "v-data": "/etc"}, "v-data", "Data must be a path within"),
    ],
)
def test_errors_stand_beside_the_field_and_nothing_is_launched(
    form: dict[str, str], field: str, sentence: str, client: TestClient, look: Any, runs: Runs
) -> None:
    page = look(client.post("/programs/tune", data=form), 422)
    wrong = {name: words for name, words in page.words.items() if name.startswith("error-") and words}
    assert wrong.keys() == {f"error-{field}"}
    assert wrong[f"error-{field}"].startswith(sentence)
    assert page.words["launch-button"] == "Launch sweep"
    assert "The number of runs appears once the form is valid." in page.html
    assert page.words["filled-command"] == "The command appears once the form is valid."
    assert runs.sql("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM sweep)") == [(0,)]


def test_all_errors_are_said_at_once(client: TestClient, look: Any) -> None:
    page = look(client.post("/programs/tune", data={"v-lr": "0.1, 7", "v-data": "/etc", "priority": "x"}), 422)
    assert {name for name, words in page.words.items() if name.startswith("error-") and words} == {
        "error-v-lr",
        "error-v-data",
        "error-priority",
    }


def test_what_is_typed_is_checked_at_once(client: TestClient) -> None:
    form = {"v-lr": "log 1e-3 .. 0.5", "method": "tpe", "draws": "6", "metric": "score"}
    answer = client.post("/programs/tune/check", data=form)
    assert "<b>6 runs</b>" in answer.text
    assert "each depends on earlier results" in answer.text
    assert answer.headers["hx-replace-url"] == "/programs/tune?v-lr=log+1e-3+..+0.5&method=tpe&draws=6&metric=score"


def test_a_posted_form_launches_its_sweep_once(client: TestClient, look: Any, runs: Runs) -> None:
    page = look(client.get("/programs/tune?v-lr=0.1,0.5&also.v-augment=true&direction=maximize&metric=score&name=mine"))
    form = filled_in(page)
    answer = client.post("/programs/tune", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert (
        client.post("/programs/tune", data=form, follow_redirects=False).headers["location"]
        == (answer.headers["location"])
    )
    sweep = client.get(f"/api/v1{answer.headers['location']}").json()
    assert (sweep["title"], sweep["metric"], sweep["direction"]) == ("mine", "score", "maximize")
    assert sweep["spec"]["grid"] == {"lr": [0.1, 0.5], "augment": [False, True]}
    assert runs.sql("SELECT count(*) FROM run") == [(4,)]


@pytest.mark.parametrize(
    ("query", "line"),
    [
        (
            {
                "v-lr": "0.1, 0.5",
                "v-note": "it's",
                "seeds": "2",
                "tags": "a",
                "metric": "score",
                "direction": "maximize",
            },
            ["note=it's", "lr=0.1,0.5", "--tags", "a", "--seeds", "2", "--metric", "score", "--goal", "max"],
        ),
        (
            {"v-lr": "log 1e-3 .. 0.5", "also.v-optimizer": "sgd", "draws": "5", "pruning": "median"},
            ["optimizer=adamw,sgd", "lr=0.001..0.5:log", "--method", "random", "--trials", "5", "--prune", "median"],
        ),
        ({"v-epochs": "2 .. 6 step 2", "method": "grid"}, ["epochs=2..6:2"]),
    ],
)
def test_the_commands_launch_the_same_sweep_as_the_form(
    query: dict[str, str], line: list[str], client: TestClient, look: Any
) -> None:
    page = look(client.get("/programs/tune", params=query))
    address, body = command_of(page)
    assert address == "http://127.0.0.1:8000/api/v1/programs/tune/sweeps"
    made = client.post(address, json=body)
    assert made.status_code == 201, made.text
    assert page.words["launch-button"] == f"Launch {made.json()['planned']} runs"
    words = shlex.split(page.words["command-runyard"])
    assert (words[:4], sorted(words[4:])) == (["runyard", "program", "launch", "tune"], sorted(line))
    call: Any = ast.parse(page.words["command-python"]).body[-1]
    given = {each.arg: ast.literal_eval(each.value) for each in call.value.keywords}
    sweep = body["sweep"] | {name: body[name] for name in ("tags", "values") if body.get(name)}
    assert (call.value.func.attr, given) == ("sweep_program", sweep)


def test_a_program_without_numbers_and_choices_has_no_fields_of_a_sweep(
    client: TestClient, look: Any, settings: Settings
) -> None:
    body = signed(settings, name="plain", command=["train", "{data}"], fields=[{"name": "data", "type": "path"}])
    assert client.put("/api/v1/programs/plain", json=body).status_code == 200
    page = look(client.get("/programs/plain"))
    assert page.all("select", name="method") == []
    assert "To launch a sweep" not in page.html


def test_a_required_field_can_vary_and_secrets_stay_out_of_the_address(
    client: TestClient, look: Any, settings: Settings
) -> None:
    fields = [
        {"name": "depth", "type": "int"},
        {"name": "how", "type": "choice", "choices": ["a", "b, c"]},
        {"name": "token", "type": "choice", "choices": ["x", "y"], "default": "x"},
    ]
    command = ["train", "{depth}", "{how}", "--token={token}"]
    body = signed(settings, name="needy", command=command, fields=fields)
    assert client.put("/api/v1/programs/needy", json=body).status_code == 200
    form = {"v-depth": "2, 4", "also.v-how": ["a", "b, c"], "also.v-token": "y", "v-token": "x"}
    page = look(client.get("/programs/needy", params=form))
    assert page.words["launch-button"] == "Launch 8 runs"
    # A comma would end the value on the command line.
    assert "Use curl instead" in page.html
    checked = client.post("/programs/needy/check", data=form)
    assert "token" not in checked.headers["hx-replace-url"]
    assert "also.v-how=b%2C+c" in checked.headers["hx-replace-url"]
