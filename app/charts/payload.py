"""JSON payload of charts and points for `chart-board.js`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from app.analysis.curves import Band, Points
from app.charts.chart_specs import Chart
from app.services.live import curve_for_browser


def points_as_json(charts: list[Chart], points: dict[str, Points], commit: int) -> dict[str, Any]:
    """Return the data that `chart-board.js` draws."""
    return {
        "commit": commit,
        "charts": [asdict(chart) for chart in charts],
        "points": {name: _points_as_json(curve_points) for name, curve_points in points.items()},
    }


def _points_as_json(curve_points: Points) -> dict[str, Any]:
    payload: dict[str, Any] = curve_for_browser(curve_points.curve)
    payload |= {"per_epoch": curve_points.steps_per_epoch, "stretches": curve_points.stretches}
    if curve_points.coarse:
        payload["coarse"] = True
    if curve_points.smooth is not None:
        average = {"total": curve_points.smooth.average.total, "share": curve_points.smooth.average.weights}
        payload["even"] = (
            curve_for_browser(curve_points.smooth.curve) | average | _band_as_json(curve_points.smooth.band)
        )
    return payload | _band_as_json(curve_points.band)


def _band_as_json(band: Band | None) -> dict[str, list[float | None]]:
    return {} if band is None else {"low": _finite(band.low), "high": _finite(band.high)}


def _finite(values: np.typing.NDArray[np.float64]) -> list[float | None]:
    return [value if value - value == 0 else None for value in values.tolist()]
