"""The search proposes values within the space, learns from trials, and needs no state between calls."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from app.contract.sweep import Choice, Range
from app.sweeps.search import Trial, propose

SPACE: dict[str, Any] = {
    "lr": Range(low=1e-5, high=1.0, log=True),
    "batch_size": Range(low=16, high=128, step=16),
    "warmup": Range(low=0.0, high=0.5, step=0.1),
    "optimizer": Choice(choice=["adam", "sgd"]),
    "targets": Choice(choice=[["digit"], ["digit", "thickness"]]),
}


def reach(values: dict[str, Any]) -> float:
    lr: float = values["lr"]
    return 1 - abs(math.log10(lr) + 3) / 5 - (0.2 if values["optimizer"] == "sgd" else 0.0)


def test_it_comes_nearer_to_what_is_best() -> None:
    tried: list[Trial] = []
    for _ in range(40):
        values = propose(SPACE, tried, "maximize", 1, 40)
        assert 1e-5 <= values["lr"] <= 1.0
        assert values["batch_size"] in range(16, 129, 16)
        assert values["targets"] in SPACE["targets"].choice
        tried.append(Trial(values, reach(values)))
    reached = [each.value for each in tried if each.value is not None]
    assert sum(reached[-10:]) / 10 > sum(reached[:10]) / 10 + 0.1


def test_it_proposes_the_same_from_the_same_and_another_from_more() -> None:
    tried = [Trial(propose(SPACE, [], "maximize", 1, 9), 0.5)]
    assert propose(SPACE, tried, "maximize", 1, 9) == propose(SPACE, tried, "maximize", 1, 9)
    assert propose(SPACE, tried, "maximize", 1, 9) != propose(SPACE, tried, "maximize", 2, 9)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_it_is_told_of_all_that_can_happen(direction: Any) -> None:
    values = [propose(SPACE, [], direction, seed, 9) for seed in range(6)]
    tried = [
        Trial(values[0], 0.5),
        Trial(values[1]),
        Trial(values[2], pruned=True, epoch_values=[0.1, math.nan, 0.2]),
        Trial(values[3], pruned=True, epoch_values=[math.nan]),
        Trial(values[4], failed=True),
        Trial(values[5], math.nan),
    ]
    assert set(propose(SPACE, tried, direction, 1, 9)) == set(SPACE)


def test_the_server_and_an_idle_recorder_never_import_optuna() -> None:
    words = "import sys, app.main, app.services.recorder, app.services.sweep_driver; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
