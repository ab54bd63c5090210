"""The curves of a run as a page holds them: few points at first, finer ones of a part, smoothed from all of them."""

from __future__ import annotations

from sqlalchemy import Connection

from app.analysis.curves import Even, Points, averaged
from app.store.metric import Curve, Summary, envelope, read_curves, read_summaries
from app.store.run import RunRecord
from app.web.run_summary import steps_per_epoch

LONGEST_EMBEDDED = 5000
EMBEDDED = 60_000
FEWEST_EMBEDDED = 600
SMOOTHED_AT_ONCE = 400_000
"""Points of all noisy curves of a page together which are read whole for its first paint."""
WARM_UP = 2000
"""Points before a part from which on its average is that of the whole curve, at any weight that can be set."""


def is_noisy(name: str) -> bool:
    """Whether a curve is smoothed: what is measured of single batches."""
    return name.startswith("train/") and name != "train/lr"


def is_share(name: str) -> bool:
    """Whether a curve is of shares of 1, such as an accuracy."""
    return name.rsplit("/", 1)[-1] == "acc"


def embedded_points(curves: int) -> int:
    """How many points of each of so many curves a page carries."""
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
    """The curves of a run, at most ``points`` points of each (None: as many as a page carries, 0: every one).

    Of noisy curves that are not whole the smoothed ones too, unless together they have more than ``at_once`` points.
    """
    totals = read_summaries(connection, [record.id])[record.id]
    most = embedded_points(len(totals if names is None else names)) if points is None else points
    curves = read_curves(connection, record.id, names, most, within)
    # Of a part it is not known how many points it has; a stretch that is full may be one of more.
    coarse = {
        name: most > 0 and (len(curve.steps) < totals[name].points if within is None else len(curve.steps) >= most // 2)
        for name, curve in curves.items()
        if name in totals
    }
    noisy = [name for name, rough in coarse.items() if rough and is_noisy(name)] if 0 < smoothing < 1 else []
    if at_once is not None and sum(totals[name].points for name in noisy) > at_once:
        noisy = []
    even = {name: _even(connection, record.id, name, totals[name], smoothing, most, within) for name in noisy}
    pace = steps_per_epoch(record)
    return {
        name: Points(curve, pace, record.stretches, None, coarse.get(name, False), even.get(name))
        for name, curve in curves.items()
    }


def _even(
    connection: Connection,
    run: str,
    name: str,
    total: Summary,
    smoothing: float,
    points: int,
    within: tuple[int, int] | None,
) -> Even | None:
    asked = within
    if within is not None:
        ahead = WARM_UP * max(1, round(total.last_step / max(1, total.points)))
        within = (max(0, within[0] - ahead), within[1])
    curve = read_curves(connection, run, [name], 0, within).get(name)
    if curve is None:
        return None
    values, average = averaged(curve.values, smoothing)
    whole = Curve(curve.steps, values, curve.times)
    if asked is not None:
        there = whole.steps >= asked[0]
        whole = Curve(whole.steps[there], whole.values[there], whole.times[there])
    return Even(envelope(whole, points), average)
