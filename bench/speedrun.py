"""Seconds of training of the `speedrun` presets on real MNIST, through a whole Runyard, and their accuracy.

Five seeds each, on all cores, with nothing else running. The seconds are those of the run's page, from the first step
to the end: training, validation after every epoch, checkpoints and test. Kept with each seed: the validation accuracy
after every epoch and the seconds since the first step.
"""

from __future__ import annotations

from typing import Any

from app.analysis.statistics import mean_of
from app.contract.presets import PRESETS
from app.contract.settings import Settings
from bench.instance import Instance
from bench.interleave import REPEATS
from bench.real_data import available, provide
from bench.report import Row, row, save

TARGETS = {"speedrun_mnist_99": 99.0, "speedrun_mnist_994": 99.4}
POLL_SECONDS = 0.5


def main() -> None:
    """Launch every preset with every seed, in turn."""
    source = Settings().datasets
    if "mnist" not in available(source):
        print(f"no real MNIST in {source}: nothing was measured")
        return
    runs: dict[str, list[dict[str, Any]]] = {preset: [] for preset in TARGETS}
    with Instance(RUNYARD_SLOTS="1", RUNYARD_DEVICE="cpu") as instance:
        provide("mnist", source, instance.data / "datasets")
        # Prepares the dataset and tries the tunings, which later runs find.
        for preset in TARGETS:
            _run(instance, preset, 0)
        for seed in range(1, REPEATS + 1):
            for preset, results in runs.items():
                results.append(_run(instance, preset, seed))
    measured = {preset: PRESETS[preset] for preset in TARGETS}  # as they are now
    save("speedrun", [each for preset in TARGETS for each in _rows(preset, runs[preset])], runs=runs, presets=measured)


def _run(instance: Instance, preset: str, seed: int) -> dict[str, Any]:
    run = instance.call("/runs", {"preset": preset, "seed": seed})["id"]
    found = instance.wait(run, "succeeded", pause=POLL_SECONDS)
    curves = instance.call(f"/runs/{run}/metrics?points=0&names=val/acc,train/loss")
    began = curves["train/loss"]["time"][0]
    accuracy = curves["val/acc"]
    result = {
        "seed": seed,
        "seconds": found["seconds"],
        "test": found["summary"]["test/acc"]["last"],
        "validation": found["summary"]["val/acc"]["best"],
        "curve": [
            {"seconds": round(at - began, 2), "accuracy": value}
            for at, value in zip(accuracy["time"], accuracy["value"], strict=True)
        ],
    }
    print(f"{preset}, seed {seed}: {100 * result['test']:.2f}% in {result['seconds']:.1f} s", flush=True)
    return result


def _rows(preset: str, results: list[dict[str, Any]]) -> list[Row]:
    network = f"{PRESETS[preset]['family']} {PRESETS[preset]['size']}"
    accuracy = mean_of([result["test"] for result in results])
    interval = "" if accuracy.half is None else f" ± {100 * accuracy.half:.2f}"
    tests = row(
        f"{preset}: test accuracy, %",
        [100 * result["test"] for result in results],
        f">= {TARGETS[preset]}",
        note=f"{network}, mean {100 * accuracy.mean:.2f}{interval}",
    )
    return [tests, row(f"{preset}: run, s", [result["seconds"] for result in results])]
