"""Sweeps with a real worker: a grid with seeds, a search whose recorder is killed, and a run that others beat."""

from __future__ import annotations

from typing import Any

NET = {"family": "simple_dense_net", "size": "tiny", "dataset": "digits"}


def ended(yard: Any, sweep: str, seconds: float = 60.0) -> dict[str, Any]:
    """The sweep, as soon as it has ended."""

    def reached() -> dict[str, Any] | None:
        found: dict[str, Any] | None = yard.try_call(f"/sweeps/{sweep}")
        return found if found and found["status"] != "running" else None

    found: dict[str, Any] = yard.until(reached, seconds)
    return found


def test_a_grid_of_four_with_two_seeds_each_succeeds(yard: Any) -> None:
    grid = {"family": ["simple_dense_net", "simple_mlp"], "lr": [0.01, 0.001]}
    said = {"base": {"dataset": "digits", "epochs": 1}, "grid": grid, "seeds": 2}
    preview = yard.call("/sweeps/preview", said)
    assert preview["runs"] == 8
    sweep = yard.call("/sweeps", said)
    found = ended(yard, sweep["id"])
    assert (found["status"], found["counts"]) == ("finished", {"succeeded": 8})
    assert [each["n"] for each in found["configurations"]] == [2, 2, 2, 2]
    assert found["importances"]


def test_a_search_survives_a_recorder_that_is_killed_in_between(yard: Any) -> None:
    space = {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "optimizer": {"choice": ["adam", "sgd"]}}
    sweep = yard.call("/sweeps", {"base": NET | {"epochs": 2}, "method": "tpe", "space": space, "draws": 6})["id"]
    yard.until(lambda: yard.call(f"/sweeps/{sweep}")["counts"].get("succeeded", 0) >= 1)
    victim = yard.child("recorder")
    victim.kill()
    assert yard.call(f"/sweeps/{sweep}")["status"] == "running"
    found = ended(yard, sweep)
    assert (found["status"], found["counts"], found["planned"]) == ("finished", {"succeeded": 6}, 6)
    tried = [each["values"] for each in found["configurations"]]
    assert yard.child("recorder").pid != victim.pid
    assert len({(each["lr"], each["optimizer"]) for each in tried}) == 6


def test_a_hopeless_run_is_stopped_and_says_why(yard: Any) -> None:
    said = {
        "base": NET | {"epochs": 80},
        "grid": {"lr": [0.003, 0.001, 1e-9]},
        "pruning": "median",
        "prune_after_runs": 2,
        "prune_after_epochs": 2,
    }
    sweep = yard.call("/sweeps", said)
    hopeless = sweep["runs"][-1]
    found = yard.wait_for(hopeless, "cancelled", "succeeded")
    assert found["status"] == "cancelled"
    assert found["reason"].startswith("pruned at epoch ")
    assert " is below the median " in found["reason"]
    assert found["reason"].endswith(" of 2 runs there")
    assert found["progress"]["epoch"] < 80
    assert ended(yard, sweep["id"])["pruned"] >= 1
