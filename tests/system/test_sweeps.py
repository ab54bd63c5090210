"""Sweeps with a real worker: a grid with seeds, a search whose recorder is killed, and a run that others beat."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

NET = {"family": "simple_dense_net", "size": "tiny", "dataset": "digits"}


def ended(yard: Any, sweep: str, seconds: float = 240.0) -> dict[str, Any]:
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
        "base": NET | {"epochs": 300},
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
    assert " is below the median (" in found["reason"]
    assert found["reason"].endswith(" of 2 other runs")
    assert found["progress"]["epoch"] < 300
    assert ended(yard, sweep["id"], 180)["pruned"] >= 1


FORMS = [
    "family=simple_mlp&lr=1e-3, 2e-3&seeds=2&epochs=1",
    "family=simple_mlp&lr=log 1e-3 .. 1e-1&also.optimizer=sgd&also.flip=true&method=tpe&draws=3&epochs=1&name=it's one",
    "family=convnext_v2&also.family=simple_mlp&size=tiny&also.size=small_k3&epochs=1",
]


@pytest.mark.parametrize("form", FORMS)
def test_the_commands_beside_the_form_make_the_sweep_that_it_means(yard: Any, form: str) -> None:
    with urllib.request.urlopen(f"{yard.address}/launch?{quote(form, safe='=&')}", timeout=20) as answer:
        page = answer.read().decode()
    asked = []
    for kind in ("curl", "runyard", "python"):
        command = unescape(re.findall(rf'id="command-{kind}"[^>]*>(.*?)</pre>', page, re.DOTALL)[0])
        before = {each["id"] for each in yard.call("/sweeps")["sweeps"]}
        words = [sys.executable, "-c", command] if kind == "python" else ["bash", "-c", command]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(words, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        (made,) = [each["id"] for each in yard.call("/sweeps")["sweeps"] if each["id"] not in before]
        found = yard.call(f"/sweeps/{made}/stop", {})
        said = {name: found["spec"][name] for name in ("base", "seeds", "method", "draws", "name")}
        # A flag says every value in its own way, and a choice may stand in the grid or in the space.
        varied = {name: sorted(map(str, values)) for name, values in found["spec"]["grid"].items()}
        for name, space in found["spec"]["space"].items():
            varied[name] = sorted(map(str, space["choice"])) if "choice" in space else space
        lowered = {name: [v.lower() for v in vs] if isinstance(vs, list) else vs for name, vs in varied.items()}
        asked.append((said, lowered, found["planned"], len(found["left_out"])))
    assert asked[0] == asked[1] == asked[2]
