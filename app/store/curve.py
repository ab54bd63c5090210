"""Curve arithmetic without a database: points, summary figures, and downsampling that preserves extremes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contract.metric_names import ACCURACIES, last_part
from app.contract.packed_steps import Steps

Floats = npt.NDArray[np.float64]
LARGER = ("acc", "f1", "auc", "per_second", "precision", "recall")
"""Parts of the names of metrics of which higher values are better."""
# Columns of metric_series: points, first_step, last_step, last, last_time, low, … (MetricSeries).
Figures = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """Points of one metric: steps, values and times (seconds since 1970), of equal length."""

    steps: Steps
    values: Floats
    times: Floats


def in_order(curve: Curve) -> Curve:
    """Sort the points by step; those of one step stay in the order in which they came."""
    steps = curve.steps
    # For the few points of a chunk, counting takes half of the time of any().
    if not np.count_nonzero(steps[1:] < steps[:-1]):
        return curve
    order = np.argsort(steps, kind="stable")
    return Curve(steps[order], curve.values[order], curve.times[order])


@lru_cache(1000)
def larger_is_better(name: str) -> bool:
    """Whether higher values of a metric are better: true of accuracies and throughputs, false of losses and times."""
    last = last_part(name)
    return last in ACCURACIES or any(word in last for word in LARGER)


def figures(name: str, curve: Curve) -> Figures:
    """Summarize a curve of at least one point, in the order of its steps.

    The last point is the newest one at the largest step. NaN and infinite values are never best, lowest or highest.
    """
    steps, values = curve.steps, curve.values
    finite = np.isfinite(values)
    good, at = (values, steps) if np.count_nonzero(finite) == len(values) else (values[finite], steps[finite])
    end = newest(curve)
    summary: Figures = {
        "points": len(steps),
        "first_step": int(steps[0]),
        "last_step": int(steps[-1]),
        "last": float(values[end]) if finite[end] else None,
        "last_time": float(curve.times[end]),
        "not_finite": len(values) - len(good),
        "low": None,
        "low_step": 0,
        "high": None,
        "high_step": 0,
    }
    if len(good):
        low, high = good.argmin(), good.argmax()
        summary["low"], summary["low_step"] = float(good[low]), int(at[low])
        summary["high"], summary["high_step"] = float(good[high]), int(at[high])
    return _with_best(name, summary)


def newest(curve: Curve) -> int:
    """Index of the last point of a curve: of those at the largest step the latest, of several the largest.

    As in MLflow, the time decides, because the requests of a script may arrive in another order.
    """
    steps = curve.steps
    if len(steps) == 1 or steps[-2] != steps[-1]:
        return len(steps) - 1
    first = int(np.searchsorted(steps, steps[-1]))
    values = curve.values[first:]
    finite = np.where(np.isfinite(values), values, -np.inf)
    return first + int(np.lexsort((finite, curve.times[first:]))[-1])


def combine(name: str, old: Figures, new: Figures) -> Figures:
    """Combine the figures of a curve with those of points that came later, at whichever steps.

    The last point is the newest one at the largest step. Of equal extremes, that at the smallest step wins.
    """
    both = dict(new)
    both["points"] = old["points"] + new["points"]
    both["not_finite"] = old["not_finite"] + new["not_finite"]
    both["first_step"] = min(old["first_step"], new["first_step"])
    if _age(old) > _age(new):
        both |= {column: old[column] for column in ("last_step", "last", "last_time")}
    for end, better in (("low", -1), ("high", 1)):
        before, after, step = old[end], new[end], f"{end}_step"
        ahead = before is not None and (after is None or (after - before) * better < 0)
        if ahead or after is None or (after == before and old[step] <= new[step]):
            both[end], both[step] = before, old[step]
    return _with_best(name, both)


def _age(summary: Figures) -> tuple[int, float, float]:
    last = summary["last"]
    return summary["last_step"], summary["last_time"], -np.inf if last is None else last


def _with_best(name: str, summary: Figures) -> Figures:
    end = "high" if larger_is_better(name) else "low"
    summary["best"], summary["best_step"] = summary[end], summary[f"{end}_step"]
    return summary


def envelope(curve: Curve, points: int) -> Curve:
    """Downsample to at most ``points`` (at least two) that keep each interval's extremes, so that no spike vanishes."""
    n = len(curve.steps)
    if points <= 0 or n <= points:
        return curve
    buckets = max(1, points // 2)
    edges = np.linspace(0, n, buckets + 1).astype(np.int64)
    low = high = curve.values
    if np.isnan(low).any():
        # NaN would win every comparison; it is used only where an interval has no other value.
        missing = np.isnan(low)
        low, high = np.where(missing, np.inf, low), np.where(missing, -np.inf, high)
    at_low = _first_in_stretch(low, np.minimum, edges)
    at_high = _first_in_stretch(high, np.maximum, edges)
    # One minimum and one maximum per interval, in order; a point can be both.
    pairs = np.stack((np.minimum(at_low, at_high), np.maximum(at_low, at_high)), 1).ravel()
    picked = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    return Curve(curve.steps[picked], curve.values[picked], curve.times[picked])


def _first_in_stretch(values: Floats, extreme: np.ufunc, edges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Index of the first occurrence of each interval's extreme."""
    starts, lengths = edges[:-1], np.diff(edges)
    hits = np.flatnonzero(values == np.repeat(extreme.reduceat(values, starts), lengths))
    first: npt.NDArray[np.int64] = hits[np.searchsorted(hits, starts)]
    return first
