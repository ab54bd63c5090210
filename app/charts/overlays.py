"""What is laid over the curves of one run: other runs, the best so far, the mean of earlier runs, and a forecast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sqlalchemy import Connection

from app.analysis.curves import Points
from app.analysis.forecast import Forecast, forecast
from app.analysis.groups import OWN, mean_curve
from app.charts.catalog import Compared
from app.charts.points import is_noisy, is_share, read_points
from app.store.curve import Floats
from app.store.metric import read_curves, read_one_of_each
from app.store.search.query import RunFilter, RunRow, list_runs, runs_by_id
from app.web.run_summary import RunSummary, metric_name, settings_of, steps_per_epoch, summarize_run

BEST, EARLIER = "best", "earlier"
MOST = 12
POINTS = 1000
PICKABLE = 12
FINISHED = 60
LOOKED_AT = 200
CURVES = ("train/loss", "train/lr")


@dataclass(frozen=True)
class Overlays:
    """What a viewer has laid over a run. ``said``: as the address says it; ``missing``: what could not be found."""

    said: list[str] = field(default_factory=list)
    baseline: str = ""
    others: list[Compared] = field(default_factory=list)
    points: dict[str, Points] = field(default_factory=dict)
    runs: list[RunSummary] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    best: str = ""

    @property
    def live(self) -> bool:
        """Whether one of them can still change."""
        return any(each.run.live for each in self.runs)


def words_of(said: Sequence[str]) -> list[str]:
    """What an address names, once each: ``with=a,b`` and ``with=a&with=b`` mean the same."""
    return list(dict.fromkeys(part.strip() for value in said for part in value.split(",") if part.strip()))[:MOST]


def read_overlays(
    connection: Connection,
    own: RunSummary,
    said: Sequence[str],
    baseline: str = "",
    smoothing: float = 0.0,
    at_once: int | None = None,
) -> Overlays:
    """Curves of the runs that ``said`` names, by id, or "best" or "earlier"; the baseline is one of them.

    ``smoothing`` and ``at_once``: as `read_points` takes them, for each run.
    """
    words = words_of([*said, baseline])
    if not words:
        return Overlays()
    best = best_run(connection, own) if BEST in words else None
    ids = [best.run.id if word == BEST and best else word for word in words if word != EARLIER]
    rows = [row for row in runs_by_id(connection, list(dict.fromkeys(ids))) if row.run.id != own.run.id]
    others: list[Compared] = []
    points: dict[str, Points] = {}
    for row in rows:
        curves = _same_curves(own, row)
        held = read_points(connection, row.run, POINTS, smoothing, list(curves.values()), at_once=at_once)
        others.append(_compared(row, {name: other for name, other in curves.items() if other in held}))
        points |= {f"{row.run.id}:{name}": each for name, each in held.items()}
    there = {row.run.id for row in rows}
    missing = [word for word in words if word not in (BEST, EARLIER) and word not in there and word != own.run.id]
    missing += [BEST] if BEST in words and best is None else []
    if EARLIER in words:
        mean, curves_of_mean = _mean_of_earlier(connection, own, smoothing)
        others += [mean] if mean else []
        points |= curves_of_mean
        missing += [] if mean else [EARLIER]
    pinned = best.run.id if baseline == BEST and best else baseline
    return Overlays(
        words, pinned, others, points, [summarize_run(row) for row in rows], missing, best.run.id if best else ""
    )


def _compared(row: RunRow, curves: dict[str, str]) -> Compared:
    return Compared(row.run.id, f"#{row.run.number}", row.run.number, curves, f"/runs/{row.run.id}")


def _same_curves(own: RunSummary, row: RunRow) -> dict[str, str]:
    """By the name of the run's own curve, that of the other; what stands for a run with several heads lies over what
    stands for a run with one.
    """
    named = {name: name for name in row.summary if name in CURVES or name.startswith("val/")}
    for last in ("acc", "loss"):
        mine, theirs = _leading(own, last), metric_name(row.summary, row.run.config, "val", last)
        if theirs is not None:
            named.setdefault(mine, theirs)
    return named


def best_run(connection: Connection, own: RunSummary) -> RunRow | None:
    """The finished run of the same dataset, and of as many targets, with the best validation, other than this one."""
    name = _leading(own)
    page = list_runs(connection, _finished(own), f"-{name}", 2, None, time.time())
    return next((row for row in page.rows if row.run.id != own.run.id and name in row.summary), None)


def _leading(own: RunSummary, last: str = "acc") -> str:
    """The validation metric that stands for a run: the accuracy of its first target, the loss of all of them."""
    targets = own.run.config.targets
    return f"val/{last}" if len(targets) == 1 or last == "loss" else f"val/{targets[0]}/{last}"


def _finished(own: RunSummary) -> RunFilter:
    return RunFilter(status=["succeeded"], dataset=[own.run.config.dataset])


def pickable(connection: Connection, own: RunSummary) -> list[RunSummary]:
    """The newest other runs of the same dataset."""
    where = RunFilter(dataset=[own.run.config.dataset])
    page = list_runs(connection, where, "-number", PICKABLE + 1, None, time.time())
    return [summarize_run(row) for row in page.rows if row.run.id != own.run.id and row.summary][:PICKABLE]


def _mean_of_earlier(
    connection: Connection, own: RunSummary, smoothing: float
) -> tuple[Compared | None, dict[str, Points]]:
    """The mean of the curves of earlier runs of the same configuration, whatever their seed, with its interval."""
    config = own.run.config
    where = replace(_finished(own), family=[config.family], size=[config.size])
    alike = _variant(own)
    page = list_runs(connection, where, "-number", LOOKED_AT, None, time.time())
    earlier = [row for row in page.rows if row.run.number < own.number and _variant(summarize_run(row)) == alike]
    # Of each seed the newest: the same training twice says nothing more than once.
    # Of those that were trained elsewhere every one counts: what their scripts did with the seed is not known.
    counted = {row.run.id if row.run.logged else row.run.config.seed: row for row in reversed(earlier)}
    rows = list(counted.values())[::-1][:32]
    held: dict[str, list[Points]] = {}
    for row in rows:
        names = [name for name in row.summary if name in CURVES or name.startswith("val/")]
        for name, curve in read_curves(connection, row.run.id, names, 0).items():
            held.setdefault(name, []).append(Points(curve, steps_per_epoch(row.run), row.run.stretches))
    means = {
        name: mean
        for name, curves in held.items()
        if (mean := mean_curve(curves, smoothing if is_noisy(name) else None, is_share(name))) is not None
    }
    if not means:
        return None, {}
    points = {f"{EARLIER}:{name}": mean for name, mean in means.items()}
    title = f"mean of {len(rows)} earlier" if len(rows) > 1 else "1 earlier run"
    return Compared(EARLIER, title, own.number + 4, {name: name for name in means}), points


def _variant(shown: RunSummary) -> str:
    return repr({name: value for name, value in settings_of(shown.run.config).items() if name not in OWN})


def read_forecast(connection: Connection, own: RunSummary) -> tuple[Forecast | None, int]:
    """How this run's validation accuracy will probably end, and how many finished runs there are to tell it from."""
    name = _leading(own)
    page = list_runs(connection, _finished(own), "-number", FINISHED, None, time.time())
    rows = [row for row in page.rows if name in row.summary and row.run.config.epochs >= own.epochs]
    curves = read_one_of_each(connection, {row.run.id: name for row in rows if row.run.id != own.run.id}, 0)
    mine = read_curves(connection, own.run.id, [name], 0).get(name)
    comparable: list[Floats] = [curve.values for curve in curves.values()]
    values = mine.values if mine is not None else np.empty(0)
    return forecast(values, comparable, own.epochs), len(comparable)
