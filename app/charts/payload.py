"""Curves as `chart-board.js` draws them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from app.analysis.curves import Band, Points
from app.charts.catalog import Chart
from app.services.live import curve_as_json


def points_as_json(charts: list[Chart], points: dict[str, Points], commit: int) -> dict[str, Any]:
    """What `chart-board.js` draws from."""
    return {
        "commit": commit,
        "charts": [asdict(chart) for chart in charts],
        "points": {name: _held_as_json(held) for name, held in points.items()},
    }


def _held_as_json(held: Points) -> dict[str, Any]:
    said: dict[str, Any] = curve_as_json(held.curve)
    said |= {"per_epoch": held.steps_per_epoch, "stretches": held.stretches}
    if held.coarse:
        said["coarse"] = True
    if held.even is not None:
        average = {"total": held.even.average.total, "share": held.even.average.share}
        said["even"] = curve_as_json(held.even.curve) | average | _ends(held.even.band)
    return said | _ends(held.band)


def _ends(band: Band | None) -> dict[str, list[float | None]]:
    return {} if band is None else {"low": _finite(band.low), "high": _finite(band.high)}


def _finite(values: np.typing.NDArray[np.float64]) -> list[float | None]:
    return [each if each - each == 0 else None for each in values.tolist()]
