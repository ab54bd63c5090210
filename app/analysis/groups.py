"""Runs that differ only in their seed, or in what nobody asked about, as one: their figures and curves as means.

A group is what a comparison is about: one run says little about a variant, since another seed ends elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from app.analysis.curves import MEAN, Average, Band, Even, Points, smoothed
from app.analysis.statistics import Difference, Mean, difference, holm, mean_of, seeds_to_decide, t_quantile
from app.store.metric import Curve, Floats
from app.store.training_time import trained_at
from app.web.formatting import format_setting
from app.web.run_summary import RunSummary, settings_of

BY = ("none", "variant")
BUCKETS = 300
# In what runs of the same variant may differ.
OWN = ("seed", "device", "worker", "keep_checkpoints", "find_batch")
NAMED_FIRST = ("family", "size", "dataset", "targets")


@dataclass(frozen=True)
class Group:
    """Runs of the same variant, the oldest first. ``key`` is its place among the groups of a page, "g1"."""

    key: str
    title: str
    runs: list[RunSummary]

    @property
    def number(self) -> int:
        """Of its first run, whose color it has."""
        return self.runs[0].number

    @property
    def live(self) -> bool:
        """Whether a run of it can still change."""
        return any(facts.run.live for facts in self.runs)

    @cached_property
    def samples(self) -> list[RunSummary]:
        """One run of each seed, the newest that succeeded: the same training twice says nothing more than once.

        Of runs that were trained elsewhere every one counts: what their scripts did with the seed is not known.
        """
        counted: dict[str, RunSummary] = {}
        for facts in sorted(self.runs, key=lambda each: (each.run.status == "succeeded", each.number)):
            config = facts.run.config
            settings = {name: value for name, value in settings_of(config).items() if name not in OWN}
            counted[facts.run.id if facts.run.logged else repr((settings, config.seed))] = facts
        chosen = {facts.run.id for facts in counted.values()}
        return [facts for facts in self.runs if facts.run.id in chosen]

    def values(self, figure: Callable[[RunSummary], float | None]) -> list[float]:
        """A figure of its samples, of those that have it."""
        return [value for facts in self.samples if (value := figure(facts)) is not None]


def fields_of_grouping(by: str, shown: Sequence[RunSummary]) -> tuple[str, ...] | None:
    """By which settings to group, None for not at all; "" groups where there are several seeds of something.

    ``by``: "none", "variant" (all but the seed), or names of settings by comma. Raises ValueError with a sentence.
    """
    names = list(dict.fromkeys(name for facts in shown for name in settings_of(facts.run.config)))
    variant = tuple(name for name in names if name not in OWN)
    if by == "none":
        return None
    if by == "variant":
        return variant
    if by == "":
        seeds = {(_key(facts, variant), facts.run.seed) for facts in shown}
        return variant if len({key for key, _ in seeds}) < len(seeds) else None
    wanted = tuple(name.strip() for name in by.split(",") if name.strip())
    for name in wanted:
        if name not in names:
            raise ValueError(f"no setting '{name[:40]}' to group by; settings: {', '.join([*BY, *names])}")
    return wanted


def grouped(shown: Sequence[RunSummary], fields: tuple[str, ...]) -> list[Group]:
    """These runs by the values of ``fields``, groups in the order of their first runs."""
    found: dict[str, list[RunSummary]] = {}
    for facts in shown:
        found.setdefault(_key(facts, fields), []).append(facts)
    settings = [settings_of(runs[0].run.config) for runs in found.values()]
    return [
        Group(f"g{i + 1}", title or "all runs", runs)
        for i, (title, runs) in enumerate(zip(_titles(settings, fields), found.values(), strict=True))
    ]


def varying_within(groups: Sequence[Group]) -> set[str]:
    """The settings in which runs of one group differ, such as their seed: those say nothing of a group."""
    found: set[str] = set()
    for group in groups:
        settings = [settings_of(facts.run.config) for facts in group.runs]
        found |= {name for each in settings for name in each if len({repr(one.get(name)) for one in settings}) > 1}
    return found | ({"seed"} if any(len(group.runs) > 1 for group in groups) else set())


def _key(facts: RunSummary, fields: tuple[str, ...]) -> str:
    settings = settings_of(facts.run.config)
    return repr([settings.get(name) for name in fields])


def _titles(settings: list[dict[str, Any]], fields: tuple[str, ...]) -> list[str]:
    """A name for each group: family and size, then what else tells it from those that would be called the same."""
    titles = [" ".join(str(each[name]) for name in NAMED_FIRST[:2] if name in fields) for each in settings]
    return [
        " · ".join(part for part in (title, *more) if part)
        for title, more in zip(titles, _telling(titles, settings, fields), strict=True)
    ]


def with_distinct_names(shown: Sequence[RunSummary]) -> list[RunSummary]:
    """The same runs, those of one title with the settings in which they differ."""
    settings = [settings_of(facts.run.config) for facts in shown]
    names = [name for each in settings for name in each if name == "seed" or name not in OWN]
    telling = _telling([facts.run.title for facts in shown], settings, dict.fromkeys(names))
    return [replace(facts, apart=" · ".join(words)) for facts, words in zip(shown, telling, strict=True)]


def _telling(titles: Sequence[str], settings: list[dict[str, Any]], fields: Iterable[str]) -> list[list[str]]:
    """For each what tells it from the others of its title, no more than it takes."""
    titles = list(titles)
    found: list[list[str]] = [[] for _ in titles]
    for name in fields:
        if len(set(titles)) == len(titles):
            break
        alike: dict[str, list[int]] = {}
        for i, title in enumerate(titles):
            alike.setdefault(title, []).append(i)
        for places in alike.values():
            if len({repr(settings[i].get(name)) for i in places}) > 1:
                for i in places:
                    said = format_setting(settings[i].get(name))
                    found[i].append(said if name in NAMED_FIRST else f"{name.replace('_', ' ')} {said}")
                    titles[i] += f" · {said}"
    return found


# Curves --------------------------------------------------------------------------------------------------------------


def mean_curve(curves: Sequence[Points], smoothing: float | None = None, share: bool = False) -> Points | None:
    """The mean of a curve over runs, at each x over those that have a value there, and its 95 % interval.

    Short curves at each of their steps, long ones in BUCKETS stretches of the same length, by the mean of each stretch.
    Curves of runs with different numbers of steps in an epoch are laid over one another by epochs. The interval is NaN
    where there is one run. That of noisy curves, which have a ``smoothing``, has as ``even`` the mean and interval of
    the curves smoothed first, each from all of its points. Of shares of 1 the interval ends at 0 and at 1. None where
    nothing is finite.
    """
    shares = share and all(bool(np.all(_between(held.curve.values))) for held in curves)
    raw = _mean_and_band(curves, shares)
    if raw is None:
        return None
    curve, band = raw
    even = None
    if smoothing is not None and 0 < smoothing < 1:
        smooth = [replace(held, curve=_smoothed(held.curve, smoothing)) for held in curves]
        found = _mean_and_band(smooth, shares)
        even = None if found is None else Even(found[0], Average(), found[1])
    # A browser has not got the points to smooth it anew.
    return Points(curve, curves[0].steps_per_epoch, MEAN, band, coarse=smoothing is not None, even=even)


def _smoothed(curve: Curve, weight: float) -> Curve:
    return Curve(curve.steps, smoothed(curve.values, weight), curve.times)


def _between(values: Floats) -> np.typing.NDArray[np.bool_]:
    return ~np.isfinite(values) | ((values >= 0) & (values <= 1))


def _mean_and_band(curves: Sequence[Points], shares: bool) -> tuple[Curve, Band] | None:
    pace = curves[0].steps_per_epoch or 1.0
    xs = [held.curve.steps / (held.steps_per_epoch or 1.0) * pace for held in curves]
    grid = np.unique(np.concatenate(xs)) if xs else np.empty(0)
    if len(grid) > BUCKETS:
        edges = np.linspace(grid[0], grid[-1], BUCKETS + 1)
        places = [np.clip(np.searchsorted(edges, x, side="right") - 1, 0, BUCKETS - 1) for x in xs]
        grid = (edges[:-1] + edges[1:]) / 2
    else:
        places = [np.searchsorted(grid, x) for x in xs]
    table = np.array(
        [_binned(held.curve.values, place, len(grid)) for held, place in zip(curves, places, strict=True)]
    ).reshape(len(curves), len(grid))
    since = [trained_at(held.stretches, held.curve.times) for held in curves]
    times = np.array([_binned(each, place, len(grid)) for each, place in zip(since, places, strict=True)])
    there = np.isfinite(table)
    n = there.sum(0)
    known = n > 0
    if not known.any():
        return None
    table, times, n, there = table[:, known], times.reshape(table.shape)[:, known], n[known], there[:, known]
    mean = np.where(there, table, 0).sum(0) / n
    half = np.full(len(n), np.nan)
    several = n > 1
    spread = (np.where(there, table - mean, 0) ** 2).sum(0)[several] / (n[several] - 1)
    half[several] = [t_quantile(int(each) - 1) for each in n[several]] * np.sqrt(spread / n[several])
    steps = np.asarray(grid[known], dtype=np.float64)
    curve = Curve(steps.astype(np.int64), mean, np.nanmean(np.where(there, times, np.nan), axis=0))
    low, high = mean - half, mean + half
    return curve, Band(np.clip(low, 0, 1), np.clip(high, 0, 1)) if shares else Band(low, high)


def _binned(values: Floats, places: Any, length: int) -> Floats:
    """The mean of the finite ones of ``values`` in each of so many places; NaN where there is none."""
    good = np.isfinite(values)
    n = np.bincount(places[good], minlength=length)
    total = np.bincount(places[good], values[good], minlength=length)
    return np.asarray(np.where(n > 0, total / np.maximum(n, 1), np.nan), dtype=np.float64)


# Is one better -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Against:
    """A group beside the best one: how far it is behind, and how likely chance alone is, corrected for all groups."""

    behind: Difference
    p: float | None
    more_seeds: int | None


@dataclass(frozen=True)
class Standing:
    """A group's figure as a mean, and beside the best group's; ``against`` is None of the best itself."""

    group: Group
    mean: Mean | None
    values: list[float]
    against: Against | None
    best: bool


def standings(groups: Sequence[Group], figure: Callable[[RunSummary], float | None], better: int = 1) -> list[Standing]:
    """Every group in the given order with its figure; ``better`` is 1 where larger is, -1 where smaller is."""
    values = [group.values(figure) for group in groups]
    means = [mean_of(each) if each else None for each in values]
    known = [i for i, mean in enumerate(means) if mean is not None]
    best = max(known, key=lambda i: better * means[i].mean, default=None)  # type: ignore[union-attr]
    apart = {i: difference(values[best], values[i]) for i in known if best is not None and i != best}
    tested = [i for i, each in apart.items() if each.welch is not None]
    corrected = dict(zip(tested, holm([apart[i].welch or 0.0 for i in tested]), strict=True))
    against = {
        i: Against(each, corrected.get(i), seeds_to_decide(values[best], values[i]) if best is not None else None)
        for i, each in apart.items()
    }
    return [
        Standing(group, means[i], values[i], against.get(i), i == best and len(known) > 1)
        for i, group in enumerate(groups)
    ]
