"""Curves of a run for a page: downsampled, at higher resolution for a range of steps, and smoothed from all points."""

from __future__ import annotations

from sqlalchemy import Connection

from app.analysis.curves import Points, SmoothedCurve, averaged
from app.store.metric import Curve, Summary, envelope, read_curves, read_summaries
from app.store.run import RunRecord
from app.web.run_summary import steps_per_epoch

LONGEST_EMBEDDED = 5000
EMBEDDED = 60_000
FEWEST_EMBEDDED = 600
SMOOTHED_AT_ONCE = 400_000
"""The most points of all noisy curves together that are read completely for the first paint of a page."""
WARM_UP = 2000
"""Points to read before a range so that its average equals that of the whole curve, at any available weight."""


def is_noisy(name: str) -> bool:
    """Whether a curve is smoothed because it is measured on single batches."""
    return name.startswith("train/") and name != "train/lr"


def embedded_points(curves: int) -> int:
    """Return the number of points per curve that a page embeds."""
    return max(FEWEST_EMBEDDED, min(LONGEST_EMBEDDED, EMBEDDED // max(1, curves)))


def read_points(
    connection: Connection,
    record: RunRecord,
    points: int | None = None,
    smoothing: float = 0.0,
    names: list[str] | None = None,
    within: tuple[int, int] | None = None,
    at_once: int | None = None,
) -> dict[str, Points]:
    """Read the curves of a run with at most ``points`` points each (None: as many as a page embeds, 0: all).

    Downsampled noisy curves also get a smoothed curve, unless they have more than ``at_once`` points together.
    """
    totals = read_summaries(connection, [record.id])[record.id]
    max_points = embedded_points(len(totals if names is None else names)) if points is None else points
    curves = read_curves(connection, record.id, names, max_points, within)
    # The number of points in a range is unknown; a full range may have more.
    coarse = {
        name: max_points > 0
        and (len(curve.steps) < totals[name].points if within is None else len(curve.steps) >= max_points // 2)
        for name, curve in curves.items()
        if name in totals
    }
    noisy = [name for name, is_coarse in coarse.items() if is_coarse and is_noisy(name)] if 0 < smoothing < 1 else []
    if at_once is not None and sum(totals[name].points for name in noisy) > at_once:
        noisy = []
    smooth = {name: _smooth(connection, record.id, name, totals[name], smoothing, max_points, within) for name in noisy}
    per_epoch = steps_per_epoch(record)
    return {
        name: Points(curve, per_epoch, record.stretches, None, coarse.get(name, False), smooth.get(name))
        for name, curve in curves.items()
    }


def _smooth(
    connection: Connection,
    run: str,
    name: str,
    total: Summary,
    smoothing: float,
    points: int,
    within: tuple[int, int] | None,
) -> SmoothedCurve | None:
    requested = within
    if within is not None:
        warm_up_steps = WARM_UP * max(1, round((total.last_step - total.first_step) / max(1, total.points)))
        within = (max(total.first_step, within[0] - warm_up_steps), within[1])
    curve = read_curves(connection, run, [name], 0, within).get(name)
    if curve is None:
        return None
    values, average = averaged(curve.values, smoothing)
    smoothed = Curve(curve.steps, values, curve.times)
    if requested is not None:
        in_range = smoothed.steps >= requested[0]
        smoothed = Curve(smoothed.steps[in_range], smoothed.values[in_range], smoothed.times[in_range])
    return SmoothedCurve(envelope(smoothed, points), average)
