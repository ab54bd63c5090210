"""Overlays on the charts of a run: other runs, the best run so far, the mean of earlier runs, and the forecast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sqlalchemy import Connection

from app.analysis.curves import Points
from app.analysis.forecast import Forecast, forecast
from app.analysis.groups import SEED_SETTINGS, mean_curve
from app.charts.chart_specs import Compared
from app.charts.points import is_noisy, read_points
from app.contract.metric_names import is_share
from app.store.curve import Floats
from app.store.metric import read_curves, read_one_curve_per_run
from app.store.search.query import RunFilter, RunRow, list_runs, runs_by_id
from app.web.run_summary import RunSummary, metric_name, settings_of, steps_per_epoch, summarize_run

BEST, EARLIER = "best", "earlier"
MAX_OVERLAYS = 12
POINTS = 1000
MAX_PICKABLE = 12
MAX_FINISHED = 60
MAX_EARLIER = 200
CURVES = ("train/loss", "train/lr")


@dataclass(frozen=True)
class Overlays:
    """Overlays on a run page. ``requested``: the tokens of the address; ``missing``: tokens without a matching run."""

    requested: list[str] = field(default_factory=list)
    baseline: str = ""
    others: list[Compared] = field(default_factory=list)
    points: dict[str, Points] = field(default_factory=dict)
    runs: list[RunSummary] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    best: str = ""

    @property
    def live(self) -> bool:
        """Whether one of the overlaid runs can still change."""
        return any(run.run.live for run in self.runs)


def parse_tokens(requested: Sequence[str]) -> list[str]:
    """Return the unique tokens; ``with=a,b`` and ``with=a&with=b`` are equivalent."""
    return list(dict.fromkeys(part.strip() for value in requested for part in value.split(",") if part.strip()))[
        :MAX_OVERLAYS
    ]


def read_overlays(
    connection: Connection,
    own: RunSummary,
    requested: Sequence[str],
    baseline: str = "",
    smoothing: float = 0.0,
    at_once: int | None = None,
) -> Overlays:
    """Read the curves of the requested overlays: run IDs, "best" or "earlier"; the baseline is one of them.

    ``smoothing`` and ``at_once``: passed to `read_points` for each run.
    """
    tokens = parse_tokens([*requested, baseline])
    if not tokens:
        return Overlays()
    best = best_run(connection, own) if BEST in tokens else None
    ids = [best.run.id if token == BEST and best else token for token in tokens if token != EARLIER]
    rows = [row for row in runs_by_id(connection, list(dict.fromkeys(ids))) if row.run.id != own.run.id]
    others: list[Compared] = []
    points: dict[str, Points] = {}
    for row in rows:
        curves = _same_curves(own, row)
        curves_by_name = read_points(connection, row.run, POINTS, smoothing, list(curves.values()), at_once=at_once)
        others.append(_compared(row, {name: other for name, other in curves.items() if other in curves_by_name}))
        points |= {f"{row.run.id}:{name}": curve for name, curve in curves_by_name.items()}
    existing = {row.run.id for row in rows}
    missing = [
        token for token in tokens if token not in (BEST, EARLIER) and token not in existing and token != own.run.id
    ]
    missing += [BEST] if BEST in tokens and best is None else []
    if EARLIER in tokens:
        mean, curves_of_mean = _mean_of_earlier(connection, own, smoothing)
        others += [mean] if mean else []
        points |= curves_of_mean
        missing += [] if mean else [EARLIER]
    baseline_id = best.run.id if baseline == BEST and best else baseline
    return Overlays(
        tokens, baseline_id, others, points, [summarize_run(row) for row in rows], missing, best.run.id if best else ""
    )


def _compared(row: RunRow, curves: dict[str, str]) -> Compared:
    return Compared(row.run.id, f"#{row.run.number}", row.run.number, curves, f"/runs/{row.run.id}")


def _same_curves(own: RunSummary, row: RunRow) -> dict[str, str]:
    """Return the other run's metric names by this run's metric names; the main metrics overlay each other even if only
    one of the runs has several heads.
    """
    named = {name: name for name in row.summary if name in CURVES or name.startswith("val/")}
    for last in ("acc", "loss"):
        own_metric, other_metric = _main_metric(own, last), metric_name(row.summary, row.run.config, "val", last)
        if other_metric is not None:
            named.setdefault(own_metric, other_metric)
    return named


def best_run(connection: Connection, own: RunSummary) -> RunRow | None:
    """Return the other successful run on the same dataset and targets with the best validation accuracy."""
    name = _main_metric(own)
    page = list_runs(connection, _finished(own), f"-{name}", 2, None, time.time())
    return next((row for row in page.rows if row.run.id != own.run.id and name in row.summary), None)


def _main_metric(own: RunSummary, last: str = "acc") -> str:
    """Return the main validation metric of a run: the accuracy of its first target, or the loss of all targets."""
    targets = own.run.config.targets
    return f"val/{last}" if len(targets) == 1 or last == "loss" else f"val/{targets[0]}/{last}"


def _finished(own: RunSummary) -> RunFilter:
    return RunFilter(status=["succeeded"], dataset=[own.run.config.dataset])


def pickable(connection: Connection, own: RunSummary) -> list[RunSummary]:
    """Return the newest other runs on the same dataset."""
    where = RunFilter(dataset=[own.run.config.dataset])
    page = list_runs(connection, where, "-number", MAX_PICKABLE + 1, None, time.time())
    return [summarize_run(row) for row in page.rows if row.run.id != own.run.id and row.summary][:MAX_PICKABLE]


def _mean_of_earlier(
    connection: Connection, own: RunSummary, smoothing: float
) -> tuple[Compared | None, dict[str, Points]]:
    """Return the mean of the curves of earlier runs with the same configuration and any seed, with its interval."""
    config = own.run.config
    where = replace(_finished(own), family=[config.family], size=[config.size])
    variant = _variant(own)
    page = list_runs(connection, where, "-number", MAX_EARLIER, None, time.time())
    earlier = [row for row in page.rows if row.run.number < own.number and _variant(summarize_run(row)) == variant]
    # Only the newest run of each seed, because a repeated seed adds no information.
    # Runs trained elsewhere all count: how their scripts used the seed is unknown.
    by_seed = {row.run.id if row.run.logged else row.run.config.seed: row for row in reversed(earlier)}
    rows = list(by_seed.values())[::-1][:32]
    curves_by_name: dict[str, list[Points]] = {}
    for row in rows:
        names = [name for name in row.summary if name in CURVES or name.startswith("val/")]
        for name, curve in read_curves(connection, row.run.id, names, 0).items():
            curves_by_name.setdefault(name, []).append(Points(curve, steps_per_epoch(row.run), row.run.stretches))
    means = {
        name: mean
        for name, curves in curves_by_name.items()
        if (mean := mean_curve(curves, smoothing if is_noisy(name) else None, is_share(name))) is not None
    }
    if not means:
        return None, {}
    points = {f"{EARLIER}:{name}": mean for name, mean in means.items()}
    title = f"mean of {len(rows)} earlier runs" if len(rows) > 1 else "1 earlier run"
    return Compared(EARLIER, title, own.number + 4, {name: name for name in means}), points


def _variant(summary: RunSummary) -> str:
    return repr({name: value for name, value in settings_of(summary.run.config).items() if name not in SEED_SETTINGS})


def read_forecast(connection: Connection, own: RunSummary) -> tuple[Forecast | None, int]:
    """Return the forecast of the final validation accuracy, and the number of comparable successful runs."""
    name = _main_metric(own)
    page = list_runs(connection, _finished(own), "-number", MAX_FINISHED, None, time.time())
    rows = [row for row in page.rows if name in row.summary and row.run.config.epochs >= own.epochs]
    curves = read_one_curve_per_run(connection, {row.run.id: name for row in rows if row.run.id != own.run.id}, 0)
    own_curve = read_curves(connection, own.run.id, [name], 0).get(name)
    comparable: list[Floats] = [curve.values for curve in curves.values()]
    values = own_curve.values if own_curve is not None else np.empty(0)
    return forecast(values, comparable, own.epochs), len(comparable)
