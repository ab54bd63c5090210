"""References that pages show are those of the newest settings, and say what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report, zoo_results
from bench.zoo_results import EpochTime, Results
from bench.zoo_variants import VARIANTS, chosen

VARIANT = next(each for each in VARIANTS if each.title == "simple_mlp tiny on mnist, recipe fast")


def a_run(seed: int, test: float, seconds: float | None = None) -> dict[str, Any]:
    about = {"epochs": 5, "machine": "2 cores", "date": "2026-01-02", "data": ""}
    return {"title": VARIANT.title, "seed": seed, "test": test, "seconds": seconds, **about}


def keyed(settings: str, *runs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{VARIANT.title}, seed {run['seed']}, settings {settings}": run for run in runs}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of its own."""
    for module in (report, zoo_results):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


def saved(results: Results, folder: Path) -> dict[str, Any]:
    results.save()
    (reference,) = json.loads((folder / "zoo.json").read_text())["references"]
    return dict(reference)


def test_only_runs_with_the_newest_settings_count(folder: Path) -> None:
    runs = keyed("old", a_run(1, 0.5), a_run(2, 0.5)) | keyed("new", a_run(1, 0.9))
    found = saved(Results(runs, {}), folder)
    assert (found["mean"], found["seeds"], found["half"], found["seconds"]) == (0.9, 1, None, None)
    assert Results.kept().runs == runs


def test_an_interval_needs_three_runs(folder: Path) -> None:
    two = keyed("x", a_run(1, 0.90), a_run(2, 0.92))
    assert saved(Results(two, {}), folder)["half"] is None
    # Student's t for two degrees of freedom is 4.303; the standard error of these three is 0.01 / √3.
    three = saved(Results(two | keyed("x", a_run(3, 0.91)), {}), folder)
    assert three["half"] == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)


def test_a_time_is_measured_if_any_run_was_timed_else_estimated_from_an_epoch(folder: Path) -> None:
    epoch: dict[str, EpochTime] = {VARIANT.title: {"seconds": 3.5, "machine": "8 cores"}}
    untimed = Results(keyed("x", a_run(1, 0.9)), {})
    assert untimed.lacks_time(VARIANT)
    untimed.epoch_times |= epoch
    assert not untimed.lacks_time(VARIANT)
    found = saved(untimed, folder)
    assert (found["seconds"], found["estimated"], found["machine"]) == (17.5, True, "8 cores")
    assert Results.kept().epoch_times == epoch
    timed = Results(keyed("x", a_run(1, 0.9, 20.0), a_run(2, 0.9), a_run(3, 0.9, 24.0)), epoch)
    found = saved(timed, folder)
    assert (found["seconds"], found["estimated"], found["machine"]) == (22.0, False, "2 cores")
    assert Results({}, {}).lacks_time(VARIANT), "a quiet hour also times what is still to be trained"


def test_times_of_several_machines_are_not_mixed(folder: Path) -> None:
    elsewhere = {"machine": "8 cores"}
    runs = keyed("x", a_run(1, 0.9, 20.0), a_run(2, 0.9, 6.0) | elsewhere, a_run(3, 0.9) | elsewhere)
    found = saved(Results(runs, {}), folder)
    assert (found["seconds"], found["machine"], found["seeds"]) == (6.0, "8 cores", 3)


def test_variants_are_chosen_by_dataset_and_by_parts_of_their_titles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {each.dataset for each in chosen(["digits"])} == {"digits"}
    monkeypatch.setenv("BENCH_ZOO", "recipe cifar;mlp tiny on mnist, recipe fast")
    assert {each.title for each in chosen(["mnist"])} == {VARIANT.title}
    assert {each.recipe for each in chosen(["cifar10"])} == {"cifar"}
