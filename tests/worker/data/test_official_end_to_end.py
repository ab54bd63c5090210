"""From official files to a trained network: all targets of a dataset at once, in this process."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from app.contract.datasets import dataset
from tests.worker.conftest import fit_run, make_config

pytestmark = pytest.mark.usefixtures("loopback_only", "nowhere")


@pytest.mark.parametrize(
    ("name", "targets", "auxiliary"),
    [
        ("mnist", ["digit", "thickness", "smoothness"], True),
        ("fashion_mnist", ["class"], True),
        ("cifar10", ["class", "domain", "mobility", "size"], False),
        ("cifar100", ["fine", "coarse"], False),
    ],
)
def test_a_network_is_trained_on_all_targets_of_official_files(
    name: str, targets: list[str], auxiliary: bool, official: Callable[[str, Path], None], tmp_path: Path
) -> None:
    assert targets == [target.name for target in dataset(name).targets]
    official(name, tmp_path / "datasets")
    config = make_config(
        "simple_cnn", dataset=name, targets=targets, auxiliary=auxiliary, epochs=1, batch_size=32, seed=1
    )
    fitted = fit_run(config, tmp_path)
    assert fitted.result.outcome == "succeeded", fitted.result
    curves = fitted.reporter.curves
    for part, steps in (("train", 6), ("val", 1), ("test", 1)):
        assert len(curves[f"{part}/loss"]) == steps
        assert all(math.isfinite(value) for _, value in curves[f"{part}/loss"])
        for target in targets if len(targets) > 1 else []:
            points = curves[f"{part}/{target}/acc"]
            assert points
            assert all(0 <= value <= 1 for _, value in points)
    (started,) = fitted.reporter.events_of("started")
    assert started.params > 0
    log = [text for _, text in fitted.reporter.lines]
    for target in targets:
        assert any(text.startswith(f"{target}: majority-class baseline on the test set:") for text in log)
    assert any(text.startswith(f"measuring {name}") for text in log) == auxiliary
