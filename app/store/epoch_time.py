"""Predicted epoch time on each device, based on successful runs."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, text

from app.contract.datasets import DATASETS
from app.contract.preview import Prediction
from app.contract.spec import RunConfig

# (family, size, dataset) of a network without options, trained on the dataset's first target.
Network = tuple[str, str, str]

NOTHING_YET = "no successful run on this device yet"
NEWEST_RUNS = 2000
FEWEST_RUNS, FEWEST_NETWORKS = 3, 2
# Settings that affect throughput, as a prediction mentions them; family and size identify the network itself.
SETTINGS = {
    "dataset": "dataset",
    "batch_size": "batch size",
    "options": "options",
    "precision": "precision",
}


class RunSettings(Protocol):
    """The settings of a run on which its throughput depends; satisfied by RunConfig."""

    @property
    def family(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def dataset(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def options(self) -> dict[str, Any]: ...
    @property
    def precision(self) -> str: ...


@dataclass(frozen=True)
class _Run:
    """A successful run; ``seconds``: training time per image."""

    device: str
    family: str
    size: str
    settings: dict[str, Any]
    plain: bool
    seconds: float


def predict(
    connection: Connection, config: RunConfig, devices: Iterable[str], flops: Mapping[Network, int] | None = None
) -> list[Prediction]:
    """Predict the epoch time of ``config`` on each of ``devices`` and on every other device with successful runs.

    Uses runs with the same family, size, dataset, batch size, options and precision; otherwise runs of the same family
    and size, scaled by the number of training images; otherwise, as a rough estimate, other networks by their FLOPs per
    image (``flops``, which must include ``config``'s own). Medians of training time; validation is not included.
    """
    return EpochTimes(connection).predict(config, devices, flops)


class EpochTimes:
    """Throughputs of the newest successful runs, read once for many predictions; ``devices``: where they trained."""

    def __init__(self, connection: Connection) -> None:
        self._runs: dict[str, list[_Run]] = {}
        for run in _finished(connection):
            self._runs.setdefault(run.device, []).append(run)

    @property
    def devices(self) -> list[str]:
        """Devices, those with the most successful runs first."""
        return list(self._runs)

    def predict(
        self, config: RunSettings, devices: Iterable[str], flops: Mapping[Network, int] | None = None
    ) -> list[Prediction]:
        """The same as the module's function of this name, from the loaded runs."""
        names = dict.fromkeys((*devices, *self._runs))
        return [_predicted(device, self._runs.get(device, []), config, flops or {}) for device in names]

    def predict_on(self, config: RunSettings, device: str) -> Prediction:
        """Predict for one device, using only successful runs of the same network."""
        return _predicted(device, self._runs.get(device, []), config, {})


def datasets_trained(connection: Connection) -> list[str]:
    """Datasets with successful runs; rough predictions need the FLOPs of their networks."""
    query = "SELECT DISTINCT dataset FROM run WHERE status = 'succeeded' AND deleted_at IS NULL ORDER BY dataset"
    return [str(name) for name in connection.execute(text(query)).scalars() if name in DATASETS]


def _finished(connection: Connection) -> Iterable[_Run]:
    """The newest successful runs with known throughput, devices with the most runs first."""
    rows = connection.execute(
        text(
            "SELECT device, family, size, dataset, batch_size, epochs, config, progress, trained_seconds AS took,"
            " count(*) OVER (PARTITION BY device) AS runs FROM run WHERE status = 'succeeded' AND deleted_at IS NULL"
            " AND device != '' AND origin = '' ORDER BY runs DESC, device, number DESC LIMIT :newest"
        ),
        {"newest": NEWEST_RUNS},
    )
    for row in rows:
        config, progress = json.loads(row.config), json.loads(row.progress)
        images = DATASETS[row.dataset].train if row.dataset in DATASETS else 0
        epochs = progress.get("epoch") or row.epochs
        speed = progress.get("samples_per_second")
        seconds = 1 / speed if speed else (row.took or 0) / (epochs * images) if images else 0.0
        if seconds > 0:
            settings = {
                "dataset": row.dataset,
                "batch_size": row.batch_size,
                "options": config.get("options", {}),
                "precision": config.get("precision"),
            }
            plain = not settings["options"] and not config.get("auxiliary")
            yield _Run(row.device, row.family, row.size, settings, plain, seconds)


def _predicted(device: str, runs: list[_Run], config: RunSettings, flops: Mapping[Network, int]) -> Prediction:
    name = config.dataset.partition("@")[0]
    images = DATASETS[config.dataset].train if config.dataset in DATASETS else 0
    wanted = {setting: getattr(config, setting) for setting in SETTINGS} | {"dataset": name}
    same = [run for run in runs if (run.family, run.size) == (config.family, config.size)]
    alike = [run for run in same if run.settings == wanted]
    if images and (alike or same):
        chosen = alike or same
        others = [label for name, label in SETTINGS.items() if any(r.settings[name] != wanted[name] for r in chosen)]
        basis = "the same network, dataset and batch size"
        if others:
            listed = " or ".join([", ".join(others[:-1]), others[-1]] if others[:-1] else others)
            article = "" if others[0] == "options" else "a "
            basis = f"the same network with {article}different {listed}, scaled by the number of training images"
        seconds = statistics.median(run.seconds for run in chosen) * images
        return Prediction(device=device, epoch_seconds=seconds, runs=len(chosen), basis=basis)
    points = _flops_and_seconds(runs, flops)
    own = flops.get((config.family, config.size, name))
    if own and images and len(points) >= FEWEST_RUNS and len({x for x, _ in points}) >= FEWEST_NETWORKS:
        seconds = math.exp(_regress(points, math.log(own))) * images
        basis = "rough estimate from other networks, scaled by FLOPs per image"
        return Prediction(device=device, epoch_seconds=seconds, runs=len(points), basis=basis)
    basis = "no successful run of this network on this device yet" if runs else NOTHING_YET
    return Prediction(device=device, epoch_seconds=None, runs=0, basis=basis)


def _flops_and_seconds(runs: list[_Run], flops: Mapping[Network, int]) -> list[tuple[float, float]]:
    """(log FLOPs per image, log seconds per image) of each run whose FLOPs are known."""
    known = [(flops.get((run.family, run.size, run.settings["dataset"])), run) for run in runs if run.plain]
    return [(math.log(count), math.log(run.seconds)) for count, run in known if count]


def _regress(points: list[tuple[float, float]], x: float) -> float:
    xs, ys = zip(*points, strict=True)
    slope, _ = statistics.linear_regression(xs, ys)
    # A line fitted through few points may claim otherwise, but more FLOPs take no less time and at most proportionally
    # more.
    slope = min(1.0, max(0.0, float(slope)))
    return float(statistics.mean(ys) + slope * (x - statistics.mean(xs)))
