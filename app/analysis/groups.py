"""Groups of runs that differ only in their seed or in ignored settings: means of their metrics and curves, and tests.

Comparisons use groups because one run says little about a variant: another seed gives another result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from app.analysis.curves import MEAN, Average, Band, Points, SmoothedCurve, smoothed
from app.analysis.statistics import Difference, Mean, difference, holm, mean_of, seeds_to_decide, t_quantile
from app.store.metric import Curve, Floats
from app.store.training_time import trained_seconds_at
from app.web.formatting import format_setting
from app.web.run_summary import RunSummary, settings_of

BY = ("none", "variant")
BUCKETS = 300
# Settings in which runs of the same variant may differ.
SEED_SETTINGS = ("seed", "device", "worker", "keep_checkpoints", "keep_predictions", "robustness", "find_batch")
NAMED_FIRST = ("family", "size", "dataset", "targets")
# A title names up to this many differing settings; of more, at least this many.
ALL_NAMED, FEWEST_NAMED = 3, 2


@dataclass(frozen=True)
class Group:
    """Runs of the same variant, oldest first. ``key``: its position among the groups of a page, such as "g1"."""

    key: str
    title: str
    runs: list[RunSummary]

    @property
    def number(self) -> int:
        """Number of its first run, whose color it has."""
        return self.runs[0].number

    @property
    def live(self) -> bool:
        """Whether one of its runs can still change."""
        return any(summary.run.live for summary in self.runs)

    @cached_property
    def samples(self) -> list[RunSummary]:
        """One run per seed, the newest that succeeded, because a repeated seed adds no information.

        Runs trained elsewhere all count: how their scripts used the seed is unknown.
        """
        counted: dict[str, RunSummary] = {}
        for summary in sorted(self.runs, key=lambda run: (run.run.status == "succeeded", run.number)):
            config = summary.run.config
            settings = {name: value for name, value in settings_of(config).items() if name not in SEED_SETTINGS}
            counted[summary.run.id if summary.run.logged else repr((settings, config.seed))] = summary
        chosen = {summary.run.id for summary in counted.values()}
        return [summary for summary in self.runs if summary.run.id in chosen]

    def values(self, read_metric: Callable[[RunSummary], float | None]) -> list[float]:
        """Return a metric of its samples, where they have it."""
        return [value for summary in self.samples if (value := read_metric(summary)) is not None]


def grouping_fields(by: str, summaries: Sequence[RunSummary]) -> tuple[str, ...] | None:
    """Return the settings to group by, or None for no grouping.

    ``by``: "none", "variant" (see the glossary), comma-separated setting names, or "" for variants if a
    configuration has several seeds. Raises ValueError with a sentence.
    """
    names = list(dict.fromkeys(name for summary in summaries for name in settings_of(summary.run.config)))
    variant = tuple(name for name in names if name not in SEED_SETTINGS)
    if by == "none":
        return None
    if by == "variant":
        return variant
    if by == "":
        seeds = {(_key(summary, variant), summary.run.seed) for summary in summaries}
        return variant if len({key for key, _ in seeds}) < len(seeds) else None
    requested = tuple(name.strip() for name in by.split(",") if name.strip())
    for name in requested:
        if name not in names:
            raise ValueError(f"cannot group by '{name[:40]}'; choices: {', '.join([*BY, *names])}")
    return requested


def group_runs(summaries: Sequence[RunSummary], fields: tuple[str, ...]) -> list[Group]:
    """Group runs by the values of ``fields``, in the order of their first runs."""
    by_key: dict[str, list[RunSummary]] = {}
    for summary in summaries:
        by_key.setdefault(_key(summary, fields), []).append(summary)
    settings = [settings_of(runs[0].run.config) for runs in by_key.values()]
    return [
        Group(f"g{i + 1}", title or "all runs", runs)
        for i, (title, runs) in enumerate(zip(_titles(settings, fields), by_key.values(), strict=True))
    ]


def settings_varying_within(groups: Sequence[Group]) -> set[str]:
    """Return the settings that vary within a group, such as the seed, and so do not describe the group."""
    varying: set[str] = set()
    for group in groups:
        settings = [settings_of(summary.run.config) for summary in group.runs]
        varying |= {
            name for values in settings for name in values if len({repr(run.get(name)) for run in settings}) > 1
        }
    return varying | ({"seed"} if any(len(group.runs) > 1 for group in groups) else set())


def _key(summary: RunSummary, fields: tuple[str, ...]) -> str:
    settings = settings_of(summary.run.config)
    return repr([settings.get(name) for name in fields])


def _titles(settings: list[dict[str, Any]], fields: tuple[str, ...]) -> list[str]:
    """Return a title for each group: family and size, then settings that distinguish groups of the same title."""
    titles = [" ".join(str(values[name]) for name in NAMED_FIRST[:2] if name in fields) for values in settings]
    return [
        " · ".join(part for part in (title, *more) if part)
        for title, more in zip(titles, _distinguishing_settings(titles, settings, fields), strict=True)
    ]


def with_distinct_names(summaries: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs with a name suffix of differing settings where they have the same title."""
    settings = [settings_of(summary.run.config) for summary in summaries]
    names = dict.fromkeys(name for values in settings for name in values if name not in SEED_SETTINGS)
    titles = [summary.run.title for summary in summaries]
    # The seed tells little about a result, so it is named only where nothing else differs.
    distinguishing = _distinguishing_settings(titles, settings, names, ("seed",))
    return [
        replace(summary, suffix=" · ".join(settings_text))
        for summary, settings_text in zip(summaries, distinguishing, strict=True)
    ]


def short_titles(titles: Sequence[str]) -> list[str]:
    """Return titles for legends: with their run numbers, but without the first parts that all share ("vit tiny")."""
    numbers = [found.group() if (found := re.match(r"#\d+ ", title)) else "" for title in titles]
    parts = [title.removeprefix(number).split(" · ") for title, number in zip(titles, numbers, strict=True)]
    shared = 0
    # At least one part of each stays.
    while all(len(each) > shared + 1 for each in parts) and len({each[shared] for each in parts}) == 1:
        shared += 1
    if len({tuple(each) for each in parts}) < 2:
        return list(titles)
    return [number + " · ".join(each[shared:]) for number, each in zip(numbers, parts, strict=True)]


def differing_settings(first: Sequence[RunSummary], second: Sequence[RunSummary]) -> list[str]:
    """Return the settings in which all runs of one variant differ from all of another, except the seed."""
    settings = [[settings_of(summary.run.config) for summary in runs] for runs in (first, second)]
    names = dict.fromkeys(name for runs in settings for values in runs for name in values)
    values = {name: [{repr(run.get(name)) for run in runs} for runs in settings] for name in names}
    return [
        name
        for name, (one, other) in values.items()
        if name not in SEED_SETTINGS and len(one) == len(other) == 1 and one != other
    ]


def _distinguishing_settings(
    titles: Sequence[str], settings: list[dict[str, Any]], fields: Iterable[str], last: Iterable[str] = ()
) -> list[list[str]]:
    """Return, for each title, the settings that distinguish it from equal titles.

    They are all that differ if these are few, else the most telling ones and how many more there are. ``last``:
    settings that are added only where the others do not distinguish.
    """
    fields = list(fields)
    parts: list[list[str]] = [[] for _ in titles]
    by_title: dict[str, list[int]] = {}
    for i, title in enumerate(titles):
        by_title.setdefault(title, []).append(i)
    for positions in by_title.values():
        alike = [settings[i] for i in positions]
        differing = [name for name in fields if _differs(name, alike)]
        named = differing if len(differing) <= ALL_NAMED else _most_telling(differing, alike)
        more = f" + {len(differing) - len(named)} more" if len(differing) > len(named) else ""
        by_text: dict[str, list[int]] = {}
        for i in positions:
            parts[i] = [_setting_text(name, settings[i]) for name in named]
            by_text.setdefault(" · ".join(parts[i]), []).append(i)
            if more:
                parts[i][-1] += more
        for same in by_text.values():
            for name in last:
                if _differs(name, [settings[i] for i in same]):
                    for i in same:
                        parts[i].append(_setting_text(name, settings[i]))
    return parts


def _most_telling(differing: Sequence[str], settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return the first settings that together distinguish these runs, and at least FEWEST_NAMED."""
    chosen: list[str] = []
    keys = [""] * len(settings)
    for name in differing:
        finer = [f"{key}, {values.get(name)!r}" for key, values in zip(keys, settings, strict=True)]
        if len(set(finer)) > len(set(keys)):
            chosen.append(name)
            keys = finer
    chosen += [name for name in differing if name not in chosen][: max(0, FEWEST_NAMED - len(chosen))]
    return [name for name in differing if name in chosen]


def _differs(name: str, settings: Sequence[dict[str, Any]]) -> bool:
    return len({repr(values.get(name)) for values in settings}) > 1


def _setting_text(name: str, settings: dict[str, Any]) -> str:
    value = format_setting(settings.get(name))
    return value if name in NAMED_FIRST else f"{name.replace('_', ' ')} {value}"


# Curves --------------------------------------------------------------------------------------------------------------


def mean_curve(curves: Sequence[Points], smoothing: float | None = None, share: bool = False) -> Points | None:
    """Return the mean of a curve over runs with its 95% interval; at each x, over the runs that have a value there.

    Short curves are averaged at each step, long ones in BUCKETS intervals of equal length. Runs with different steps
    per epoch are aligned by epoch. The interval is NaN where only one run has a value. With ``smoothing`` (noisy
    curves), ``smooth`` is the mean and interval of the individually smoothed curves, from all of their points. With
    ``share``, intervals of curves between 0 and 1 are clipped to that range. None if no value is finite.
    """
    shares = share and all(bool(np.all(_within_unit(points.curve.values))) for points in curves)
    raw = _mean_and_band(curves, shares)
    if raw is None:
        return None
    curve, band = raw
    smooth = None
    if smoothing is not None and 0 < smoothing < 1:
        smoothed_curves = [replace(points, curve=_smoothed(points.curve, smoothing)) for points in curves]
        mean = _mean_and_band(smoothed_curves, shares)
        smooth = None if mean is None else SmoothedCurve(mean[0], Average(), mean[1])
    # The browser does not have the points to smooth it again.
    return Points(curve, curves[0].steps_per_epoch, MEAN, band, coarse=smoothing is not None, smooth=smooth)


def _smoothed(curve: Curve, weight: float) -> Curve:
    return Curve(curve.steps, smoothed(curve.values, weight), curve.times)


def _within_unit(values: Floats) -> np.typing.NDArray[np.bool_]:
    return ~np.isfinite(values) | ((values >= 0) & (values <= 1))


def _mean_and_band(curves: Sequence[Points], shares: bool) -> tuple[Curve, Band] | None:
    steps_per_epoch = curves[0].steps_per_epoch or 1.0
    xs = [points.curve.steps / (points.steps_per_epoch or 1.0) * steps_per_epoch for points in curves]
    grid = np.unique(np.concatenate(xs)) if xs else np.empty(0)
    if len(grid) > BUCKETS:
        edges = np.linspace(grid[0], grid[-1], BUCKETS + 1)
        positions = [np.clip(np.searchsorted(edges, x, side="right") - 1, 0, BUCKETS - 1) for x in xs]
        grid = (edges[:-1] + edges[1:]) / 2
    else:
        positions = [np.searchsorted(grid, x) for x in xs]
    table = np.array(
        [_binned(points.curve.values, position, len(grid)) for points, position in zip(curves, positions, strict=True)]
    ).reshape(len(curves), len(grid))
    trained_seconds = [trained_seconds_at(points.stretches, points.curve.times) for points in curves]
    times = np.array(
        [_binned(seconds, position, len(grid)) for seconds, position in zip(trained_seconds, positions, strict=True)]
    )
    present = np.isfinite(table)
    n = present.sum(0)
    known = n > 0
    if not known.any():
        return None
    table, times, n, present = table[:, known], times.reshape(table.shape)[:, known], n[known], present[:, known]
    mean = np.where(present, table, 0).sum(0) / n
    half = np.full(len(n), np.nan)
    repeated = n > 1
    spread = (np.where(present, table - mean, 0) ** 2).sum(0)[repeated] / (n[repeated] - 1)
    half[repeated] = [t_quantile(int(runs) - 1) for runs in n[repeated]] * np.sqrt(spread / n[repeated])
    # The largest float64 below 2**63.
    steps = np.clip(np.asarray(grid[known], dtype=np.float64), -(2.0**63), 2.0**63 - 1024)
    curve = Curve(steps.astype(np.int64), mean, np.nanmean(np.where(present, times, np.nan), axis=0))
    low, high = mean - half, mean + half
    return curve, Band(np.clip(low, 0, 1), np.clip(high, 0, 1)) if shares else Band(low, high)


def _binned(values: Floats, positions: Any, length: int) -> Floats:
    """Return the mean of the finite ``values`` in each of ``length`` bins; NaN in empty bins."""
    good = np.isfinite(values)
    n = np.bincount(positions[good], minlength=length)
    total = np.bincount(positions[good], values[good], minlength=length)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan), dtype=np.float64)


# Significance -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ToBest:
    """A group against the best one: ``gap`` to it, and the p-value corrected for all groups."""

    gap: Difference
    p: float | None
    seeds_to_decide: int | None


@dataclass(frozen=True)
class Standing:
    """A group's mean of a metric, and its comparison to the best group; ``to_best`` is None for the best itself."""

    group: Group
    mean: Mean | None
    values: list[float]
    to_best: ToBest | None
    best: bool


def standings(
    groups: Sequence[Group], read_metric: Callable[[RunSummary], float | None], better: int = 1
) -> list[Standing]:
    """Return the standing of each group, in the given order; ``better`` is 1 if larger is better, -1 if smaller is."""
    values = [group.values(read_metric) for group in groups]
    means = [mean_of(sample) if sample else None for sample in values]
    known = [i for i, mean in enumerate(means) if mean is not None]
    best = max(known, key=lambda i: better * means[i].mean, default=None)  # type: ignore[union-attr]
    gaps = {i: difference(values[best], values[i]) for i in known if best is not None and i != best}
    testable = [i for i, gap in gaps.items() if gap.welch is not None]
    corrected = dict(zip(testable, holm([gaps[i].welch or 0.0 for i in testable]), strict=True))
    to_best = {
        i: ToBest(gap, corrected.get(i), seeds_to_decide(values[best], values[i]) if best is not None else None)
        for i, gap in gaps.items()
    }
    return [
        Standing(group, means[i], values[i], to_best.get(i), i == best and len(known) > 1)
        for i, group in enumerate(groups)
    ]
