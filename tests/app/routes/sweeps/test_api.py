"""The API of sweeps: many runs in one request, and what is wrong with them as sentences."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.conftest import errors_of

NETS = {"family": ["simple_cnn", "vit"], "size": ["tiny", "small"]}
GRID = {"base": {"dataset": "digits", "epochs": 1}, "grid": NETS}
VIT: dict[str, Any] = {"base": {"family": "vit"}}


def launched(client: Any, **said: Any) -> Any:
    answer = client.post("/api/v1/sweeps", json=said)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_grid_makes_every_combination_with_every_seed(client: Any, runs: Any) -> None:
    sweep = launched(client, **GRID, seeds=3, name="four nets", tags=["zoo"])
    assert (sweep["planned"], sweep["counts"], sweep["status"]) == (12, {"queued": 12}, "running")
    assert (sweep["name"], sweep["title"], sweep["number"]) == ("four nets", "four nets", 1)
    found = [client.get(f"/api/v1/runs/{run}").json() for run in sweep["runs"]]
    assert len({(run["spec"]["family"], run["spec"]["size"], run["spec"]["seed"]) for run in found}) == 12
    assert found[0]["sweep"] == sweep["id"]
    assert found[0]["sweep_values"] == {"family": "simple_cnn", "size": "tiny", "seed": 1}
    assert {tuple(run["tags"]) for run in found} == {("zoo",)}
    assert [run["spec"]["seed"] for run in found] == [1] * 4 + [2] * 4 + [3] * 4
    assert sweep["compare_url"].startswith("/compare?runs=r_")
    assert sweep["compare_url"].endswith("&by=variant")
    assert client.get(f"/api/v1/sweeps/{sweep['id']}").json() == sweep


def test_seeds_go_on_from_the_seed_of_the_base(client: Any) -> None:
    sweep = launched(client, base={"family": "simple_mlp", "seed": 7}, seeds=2)
    seeds = [client.get(f"/api/v1/runs/{run}").json()["spec"]["seed"] for run in sweep["runs"]]
    assert seeds == [7, 8]


def test_all_means_every_family_and_every_size_of_each(client: Any, catalog: Any) -> None:
    sizes = sum(len(family.sizes) for family in catalog.families.values())
    for said in ({"grid": {"family": "all", "size": "all"}}, {"base": {"family": "all", "size": "all"}}):
        sweep = launched(client, **said)
        assert (sweep["planned"], sweep["left_out"]) == (sizes, [])


def test_combinations_that_do_not_exist_are_left_out_and_said(client: Any) -> None:
    sweep = launched(client, grid={"family": ["convnext_v2", "vit"], "size": ["tiny", "huge"]})
    assert sweep["planned"] == 3
    (said,) = sweep["left_out"]
    assert said == "vit, huge: no size 'huge' for vit; sizes: tiny, small, base, large"


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        (VIT | {"grid": {"size": ["hug"]}}, "size", "no size 'hug' for vit; sizes: tiny, small"),
        (VIT | {"grid": {"size": ["hug", "tiny"]}}, "size", "no size 'hug' for vit"),
        (VIT | {"grid": {"batch_size": [32, 60_000]}}, "batch_size", "batch_size must be at most 1,257"),
        (VIT | {"grid": {"lr": [0.1, "x"]}}, "lr", "lr must be a number"),
        (VIT | {"grid": {"lr": []}}, "lr", "lr has no values"),
        (VIT | {"grid": {"color": ["red"]}}, "color", "field 'color' cannot be varied in a sweep"),
        (VIT | {"grid": {"name": ["a", "b"]}}, "name", "field 'name' cannot be varied in a sweep"),
        ({"base": {"family": "vit", "epochs": 0}, "seeds": 2}, "epochs", "epochs must be at least 1"),
        ({"base": {"nothing": 1, "family": "vit"}}, "nothing", "unknown field 'nothing'"),
        ({"grid": {"lr": [0.1, 0.2]}}, "family", "a family or a preset is required"),
        (
            VIT | {"grid": {"option.pool": ["sum"]}},
            "option.pool",
            "no choice 'sum' for option pool",
        ),
        (VIT | {"grid": {"seed": [1, 2]}, "seeds": 2}, "seeds", "use either seeds or several values of seed"),
        (VIT | {"method": "random"}, "space", "method random needs at least one field in space"),
        (VIT | {"space": {"lr": {"low": 0.1, "high": 1}}}, "lr", "add a step to its range, list values"),
        (
            VIT | {"method": "random", "space": {"optimizer": {"low": 1, "high": 2}}},
            "optimizer",
            "is not numeric; list choices instead of a range",
        ),
        (
            VIT | {"method": "tpe", "space": {"batch_size": {"low": 8, "high": 60_000}}},
            "batch_size",
            "batch_size must be at most 1,257",
        ),
        (
            VIT | {"grid": {"lr": [1, 2]}, "metric": "test/acc", "pruning": "asha"},
            "metric",
            "val/acc",
        ),
        (VIT | {"grid": {"seed": list(range(1001))}}, "grid", "this sweep would have 1,001 runs; the maximum is 1,000"),
        (VIT | {"seeds": 1001}, "seeds", "seeds must be at most 1000"),
        (VIT | {"method": "magic"}, "method", "grid, random or tpe"),
        (VIT | {"speed": 3}, "speed", "unknown field 'speed'"),
    ],
)
def test_what_is_wrong_is_named_with_what_exists(client: Any, runs: Any, said: Any, field: str, words: str) -> None:
    errors = errors_of(client.post("/api/v1/sweeps", json=said))
    assert words.replace(" or ", " or ") in errors[field], errors
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]
    assert runs.sql("SELECT count(*) FROM sweep") == [(0,)]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"low": 2, "high": 1}, "low must be at most high"),
        ({"low": 0, "high": 1, "log": True}, "low must be greater than 0 if log is true"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "a step or be logarithmic, not both"),
        ({"low": 1}, "high is missing"),
        ({"choice": []}, "must not be empty"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(client: Any, space: Any, words: str) -> None:
    said = VIT | {"method": "random", "space": {"lr": space}}
    assert words in errors_of(client.post("/api/v1/sweeps", json=said))["space"]


def test_random_draws_stay_in_the_space_and_are_the_same_each_time(client: Any) -> None:
    said = {
        "base": {"family": "simple_mlp"},
        "method": "random",
        "draws": 12,
        "space": {
            "lr": {"low": 1e-4, "high": 1e-1, "log": True},
            "batch_size": {"low": 16, "high": 64, "step": 16},
            "optimizer": {"choice": ["adam", "sgd"]},
        },
    }
    both = []
    for _ in range(2):
        sweep = launched(client, **said)
        values = [client.get(f"/api/v1/runs/{run}").json()["sweep_values"] for run in sweep["runs"]]
        assert len(values) == 12
        assert all(1e-4 <= each["lr"] <= 1e-1 and each["batch_size"] in (16, 32, 48, 64) for each in values)
        assert {each["optimizer"] for each in values} == {"adam", "sgd"}
        both.append(values)
    assert both[0] == both[1]


def test_a_preview_says_how_many_runs_and_launches_none(client: Any, runs: Any) -> None:
    said = client.post("/api/v1/sweeps/preview", json=GRID | {"seeds": 3}).json()
    assert (said["runs"], said["seconds"], said["unknown"], said["slots"]) == (12, None, 12, 1)
    assert said["examples"][0] == "simple_cnn, tiny, seed 1"
    wrong = client.post("/api/v1/sweeps/preview", json=VIT | {"grid": {"size": ["hug"]}}).json()
    assert wrong["runs"] == 0
    assert wrong["errors"][0]["field"] == "size"
    assert runs.sql("SELECT count(*) FROM run") == [(0,)]


def test_the_predicted_time_is_shared_by_the_slots(client: Any, trained: Any, present: Any, runs: Any) -> None:
    run = trained(family="simple_mlp")
    runs.set(run, device="Test GPU", progress='{"epoch": 2, "epochs": 2, "samples_per_second": 1257.0}')
    present(time.time(), slots=2)
    said = {"base": {"family": "simple_mlp", "epochs": 3, "precision": "32"}, "seeds": 4}
    found = client.post("/api/v1/sweeps/preview", json=said).json()
    assert (found["runs"], found["slots"], found["unknown"]) == (4, 2, 0)
    assert found["seconds"] == pytest.approx(6.0)


def test_a_search_is_planned_and_proposes_nothing_by_itself(client: Any, runs: Any) -> None:
    space = {"lr": {"low": 1e-4, "high": 1e-1, "log": True}}
    sweep = launched(client, base={"family": "vit"}, method="tpe", draws=5, seeds=2, space=space)
    assert (sweep["planned"], sweep["runs"], sweep["status"]) == (10, [], "running")


def test_the_same_key_launches_one_sweep(client: Any, runs: Any) -> None:
    heard: list[str] = []

    def post() -> None:
        answer = client.post("/api/v1/sweeps", json=GRID, headers={"idempotency-key": "k"})
        heard.append(answer.json()["id"])

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(heard)) == 1
    assert runs.sql("SELECT count(*) FROM run") == [(4,)]
    other = client.post("/api/v1/sweeps", json=GRID | {"seeds": 2}, headers={"idempotency-key": "k"})
    assert other.status_code == 409
    assert "already launched a different sweep" in other.json()["detail"]


def test_a_thousand_runs_are_queued_as_one_sweep(client: Any, runs: Any) -> None:
    sweep = launched(client, base={"family": "simple_mlp"}, grid={"lr": [i / 1e4 for i in range(1, 251)]}, seeds=4)
    assert sweep["planned"] == 1000
    assert runs.sql("SELECT count(*) FROM run WHERE sweep IS NOT NULL") == [(1000,)]


def test_stop_ends_what_waits_and_makes_no_more(client: Any, runs: Any) -> None:
    sweep = launched(client, **GRID)
    stopped = client.post(f"/api/v1/sweeps/{sweep['id']}/stop").json()
    assert (stopped["status"], stopped["counts"]) == ("stopped", {"cancelled": 4})
    assert stopped["pruned"] == 0
    assert client.post("/api/v1/sweeps/s_nothing/stop").status_code == 404


def test_extending_makes_only_what_is_not_there_yet(client: Any, runs: Any) -> None:
    sweep = launched(client, **GRID)["id"]
    more = client.post(f"/api/v1/sweeps/{sweep}/extend", json={"seeds": 2}).json()
    assert (more["planned"], more["spec"]["seeds"]) == (8, 2)
    more = client.post(f"/api/v1/sweeps/{sweep}/extend", json={"grid": {"size": ["base", "tiny"]}}).json()
    assert more["planned"] == 12
    made = runs.sql("SELECT DISTINCT family, size, seed FROM run")
    assert len(made) == 12
    errors = errors_of(client.post(f"/api/v1/sweeps/{sweep}/extend", json={"grid": {"lr": [1]}}))
    assert "this sweep does not vary lr; it varies family, size" in errors["lr"]
    assert (
        "can only be increased" in errors_of(client.post(f"/api/v1/sweeps/{sweep}/extend", json={"seeds": 1}))["seeds"]
    )
    assert errors_of(client.post(f"/api/v1/sweeps/{sweep}/extend", json={}))["body"].startswith("nothing to add")


def test_more_draws_keep_those_that_there_are(client: Any, runs: Any) -> None:
    said = VIT | {"method": "random", "space": {"lr": {"low": 0.001, "high": 0.1}}, "draws": 3}
    sweep = launched(client, **said)
    more = client.post(f"/api/v1/sweeps/{sweep['id']}/extend", json={"draws": 5}).json()
    assert more["planned"] == 5
    assert more["runs"][:3] == sweep["runs"]
    assert len(runs.sql("SELECT DISTINCT lr FROM run")) == 5


def test_sweeps_are_listed_page_by_page(client: Any) -> None:
    made = [launched(client, base={"family": "vit"}, seeds=2)["id"] for _ in range(3)]
    first = client.get("/api/v1/sweeps?limit=2").json()
    assert [each["id"] for each in first["sweeps"]] == made[:0:-1]
    rest = client.get(f"/api/v1/sweeps?limit=2&after={first['next']}").json()
    assert ([each["id"] for each in rest["sweeps"]], rest["next"]) == (made[:1], None)


def test_the_best_configuration_and_what_matters_are_told(client: Any, runs: Any, reached: Any) -> None:
    sweep = launched(client, base={"family": "simple_mlp"}, grid={"lr": [0.1, 0.01, 0.001]}, seeds=2)
    for number, run in enumerate(sweep["runs"]):
        reached(run, 0.5 + 0.1 * (number % 3) + 0.01 * (number // 3))
    found = client.get(f"/api/v1/sweeps/{sweep['id']}").json()
    assert found["best"]["value"] == pytest.approx(0.71)
    assert found["best"]["values"] == {"lr": 0.001, "seed": 2}
    assert found["configurations"][0]["values"] == {"lr": 0.001}
    assert found["configurations"][0]["mean"] == pytest.approx(0.705)
    assert found["configurations"][0]["half"] > 0
    assert found["importances"]["lr"] > 0.9
    assert "one-way ANOVA" in found["importance_method"]


def test_what_is_drawn_matters_only_if_it_does_whatever_the_seeds(client: Any, reached: Any) -> None:
    space = {"lr": {"low": 0.001, "high": 0.1}, "weight_decay": {"low": 0.0, "high": 0.1}}
    sweep = launched(client, **VIT, method="random", space=space, draws=24, seeds=2)
    for run in sweep["runs"]:
        reached(run, 5 * client.get(f"/api/v1/runs/{run}").json()["spec"]["lr"])
    found = client.get(f"/api/v1/sweeps/{sweep['id']}").json()["importances"]
    assert found["lr"] > 0.8
    assert found["weight_decay"] < 0.4
