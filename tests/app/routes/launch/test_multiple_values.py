"""Several values in a field of the form make a sweep: it says how many runs, and each command launches the same."""

from __future__ import annotations

import json
import shlex
from html import unescape
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.spec import RunSpec
from app.contract.sweep import SweepSpec
from app.routes.launch.commands import USUAL_ADDRESS, commands_of
from app.routes.launch.multiple_values import read_range, read_values, split_values
from tests.app.routes.launch.sent import command_of, filled_in

pytestmark = pytest.mark.usefixtures("figures")

MLP = {"family": "simple_mlp"}


def test_values_stand_between_commas(client: Any, look: Any) -> None:
    page = look(client.get("/launch", params=MLP | {"lr": "1e-3, 3e-4", "seeds": "3"}))
    assert page.words["sweep-sum"].startswith("6 runs · about 2 min 30 s on 1 slot")
    assert page.words["launch-button"] == "Launch 6 runs"
    assert page.words["mark-lr"].startswith("2 values · reset")
    assert page.one("input", name="lr")["value"] == "1e-3, 3e-4"
    address, body = command_of(page)
    assert address.endswith("/api/v1/sweeps")
    assert body == {"base": {"family": "simple_mlp"}, "grid": {"lr": [0.001, 0.0003]}, "seeds": 3}


def test_one_run_is_still_one_run(client: Any, look: Any) -> None:
    page = look(client.get("/launch", params=MLP | {"lr": "1e-3,", "seeds": "1"}))
    assert page.words["launch-button"] == "Launch"
    assert "sweep-sum" not in page.words
    assert command_of(page)[0].endswith("/api/v1/runs")


def test_boxes_name_what_is_tried_as_well(client: Any, look: Any) -> None:
    said = {"family": "simple_cnn", "also.family": ["vit"], "also.size": "tiny", "also.optimizer": "sgd"}
    page = look(client.get("/launch", params=said))
    _, body = command_of(page)
    assert body["grid"] == {
        "family": ["simple_cnn", "vit"],
        "size": ["base", "tiny"],
        "optimizer": ["adam", "sgd"],
    }
    assert "checked" in page.one("input", name="also.optimizer", value="sgd")
    assert "checked" not in page.one("input", name="also.optimizer", value="adamw")
    assert not page.all("input", name="also.optimizer", value="adam")
    # What the page sends is what the address said.
    assert filled_in(page)["also.family"] == ["vit"]


def test_an_address_may_name_a_field_several_times(client: Any, look: Any) -> None:
    _, body = command_of(look(client.get("/launch?family=simple_cnn&family=vit&flip=true&flip=false")))
    assert body["grid"] == {"family": ["simple_cnn", "vit"], "flip": [True, False]}


def test_a_range_is_drawn_from(client: Any, look: Any) -> None:
    page = look(client.get("/launch", params=MLP | {"lr": "log 1e-4 .. 1e-1", "draws": "7"}))
    assert page.words["launch-button"] == "Launch 7 runs"
    _, body = command_of(page)
    assert body["space"] == {"lr": {"low": 0.0001, "high": 0.1, "log": True}}
    assert (body["method"], body["draws"]) == ("random", 7)
    assert "base" in body
    _, alike = command_of(look(client.get("/launch", params=MLP | {"lr": "1e-4..1e-1:log", "draws": "7"})))
    assert alike == body  # the notation of the command line
    _, stepped = command_of(look(client.get("/launch", params=MLP | {"batch_size": "16..128:16"})))
    assert stepped["space"] == {"batch_size": {"low": 16, "high": 128, "step": 16}}
    wrong = look(client.get("/launch", params=MLP | {"lr": "1e-1 .. 1e-4"}))
    assert "low must be at most high" in wrong.words["error-lr"]
    grid = look(client.get("/launch", params=MLP | {"lr": "1e-4 .. 1e-1", "method": "grid"}))
    assert "add a step to its range, list values" in grid.words["error-lr"]


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({"batch_size": "32, 60000"}, "batch_size", "at most 1,257"),
        ({"lr": "1e-3, fast"}, "lr", "must be a number"),
        ({"epochs": "1, 2.5"}, "epochs", "must be a whole number"),
        ({"lr": "1e-3, 2e-3", "draws": "many", "method": "random"}, "draws", "must be a whole number"),
        ({"lr": "1e-3, 2e-3", "method": "magic"}, "method", "grid, random or tpe"),
        ({"seeds": "5000"}, "seeds", "at most 1000"),
        ({"lr": "1e-3, 2e-3", "metric": "test/acc", "pruning": "median"}, "metric", "needs a validation metric"),
        (
            {"lr": ",".join(f"{i}e-5" for i in range(1, 60)), "seeds": "20"},
            "method",
            "1,180 runs; the maximum is 1,000",
        ),
    ],
)
def test_what_is_wrong_with_a_sweep_stands_at_its_field(
    client: Any, look: Any, runs: Any, said: dict[str, str], field: str, words: str
) -> None:
    pages = look(client.post("/launch", data=MLP | said), 422), look(client.post("/launch/check", data=MLP | said))
    for page in pages:
        assert words in page.words[f"error-{field}"], page.words[f"error-{field}"]
        assert "once the form is valid" in page.words["launch-sweep-line"]
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_the_button_launches_the_sweep_and_leads_to_its_page(client: Any, look: Any, runs: Any) -> None:
    page = look(client.get("/launch", params=MLP | {"lr": "1e-3, 3e-4", "seeds": "2", "name": "rates", "tags": "a"}))
    form = filled_in(page)
    answer = client.post("/launch", data=form, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sweeps/s_")
    again = client.post("/launch", data=form, follow_redirects=False)
    assert again.headers["location"] == answer.headers["location"]
    sweep = client.get("/api/v1" + answer.headers["location"]).json()
    assert (sweep["name"], sweep["planned"]) == ("rates", 4)
    assert runs.sql("SELECT DISTINCT name FROM run") == [("",)]
    assert runs.sql("SELECT count(*) FROM run_tag") == [(4,)]


def test_while_someone_types_the_count_and_the_button_come_along(client: Any, look: Any) -> None:
    page = look(client.post("/launch/check", data=MLP | {"lr": "1e-3, 3e-4, 1e-4"}))
    assert page.one("button", id="launch-button")["hx-swap-oob"] == "true"
    assert page.words["launch-button"] == "Launch 3 runs"
    address = client.post("/launch/check", data=MLP | {"lr": "1e-3, 3e-4", "seeds": "2"}).headers["hx-replace-url"]
    assert look(client.get(address)).words["launch-button"] == "Launch 4 runs"


def test_combinations_that_are_left_out_are_said(client: Any, look: Any) -> None:
    page = look(client.get("/launch?family=convnext_v2&also.family=vit&size=huge&also.size=tiny"))
    assert page.words["launch-button"] == "Launch 3 runs"
    assert "no size 'huge' for vit" in page.words["sweep-left-out"]


def test_another_family_lets_go_of_sizes_and_options_that_nobody_has(client: Any, look: Any) -> None:
    said = {"family": "simple_mlp", "size_of": "vit", "also.size": ["large", "tiny"], "also.option.pool": "mean"}
    page = look(client.post("/launch/fields", data=said))
    assert not page.all("input", name="also.option.pool")
    _, body = command_of(page)
    assert set(body["grid"]) == {"size"}


def runyard_words(spec: SweepSpec) -> list[str]:
    return shlex.split(unescape(commands_of(spec, USUAL_ADDRESS).runyard))


def test_the_commands_of_a_grid_and_of_a_search() -> None:
    grid = SweepSpec(
        base={"dataset": "digits", "epochs": 3}, grid={"family": ["simple_cnn", "vit"], "lr": [0.001, 0.0003]}, seeds=3
    )
    assert commands_of(grid, USUAL_ADDRESS).runyard == (
        "runyard launch --dataset digits --epochs 3 --family simple_cnn,vit --lr 0.001,0.0003 --seeds 3"
    )
    search = SweepSpec.model_validate(
        {
            "base": {"family": "vit"},
            "grid": {"flip": [True, False], "option.pool": ["cls", "mean"]},
            "space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "batch_size": {"low": 16, "high": 64, "step": 16}},
            "method": "tpe",
            "draws": 30,
            "pruning": "median",
        }
    )
    assert runyard_words(search) == [
        *("runyard", "sweep", "create", "--family", "vit", "--space", "flip=true,false", "--option", "pool=cls,mean"),
        *("--space", "lr=0.0001..0.1:log", "--space", "batch_size=16..64:16"),
        *("--method", "tpe", "--draws", "30", "--pruning", "median"),
    ]


def test_the_python_call_says_the_same() -> None:
    for spec, method in (
        (RunSpec(family="vit", lr=0.002), "launch"),
        (SweepSpec(base={"family": "vit"}, grid={"lr": [0.1, 0.2]}, seeds=2), "sweep"),
    ):
        python = commands_of(spec, "http://127.0.0.1:9000/").python
        names: dict[str, Any] = {"Runyard": Heard}
        exec(python.replace("from runyard import Runyard", ""), names)
        assert Heard.address == "http://127.0.0.1:9000"
        assert Heard.said == spec.model_dump(mode="json", exclude_unset=True)
        assert f".{method}(" in python


class Heard:
    """The client of a script, which only listens."""

    address = ""
    said: ClassVar[dict[str, Any]] = {}

    def __init__(self, address: str) -> None:
        Heard.address = address

    def launch(self, **said: Any) -> None:
        Heard.said = said

    sweep = launch


@given(values=st.lists(st.floats(1e-9, 1e9) | st.integers(0, 10**6), min_size=2, max_size=6, unique=True))
def test_numbers_between_commas_are_read_as_they_are(values: list[float]) -> None:
    assert read_values("lr", ", ".join(repr(value) for value in values)) == values


@given(words=st.text(max_size=40))
def test_no_words_break_the_reading(words: str) -> None:
    read_range(words)
    one, multiple = split_values({"lr": [words], "family": ["vit"], "seeds": [words], "also.size": [words]})
    assert len(one["lr"]) <= 1
    json.dumps([multiple.values, multiple.ranges])


def test_a_sweep_that_flags_cannot_say_is_read_as_it_is_sent() -> None:
    asked = SweepSpec(base={"tags": ["a,b"]}, grid={"family": ["vit", "simple_mlp"], "size": ["tiny", "large"]})
    for words in (runyard_words(asked), shlex.split(commands_of(asked, USUAL_ADDRESS, complete=False).runyard)):
        assert words[:-1] == ["runyard", "sweep", "create", "--file", "-", "<<<"]
        assert SweepSpec.model_validate(json.loads(words[-1])) == asked
