"""Configuration search with Optuna's TPE sampler.

Keeps no state: each call receives all results of the sweep's runs from the database, so that the search can continue
in another process. Optuna is imported by the first call, not with this module.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.contract.sweep import Choice, Direction, Range

if TYPE_CHECKING:
    import optuna

STARTUP = 10
"""Configurations drawn at random before TPE starts; a third of the draws if these are few."""


@dataclass(frozen=True)
class Trial:
    """A configuration tried so far: ``value`` is the mean over its seeds, None while it trains.

    ``epoch_values``: the values after each epoch of one that was ``pruned``. ``failed``: it ended without a value.
    """

    values: Mapping[str, Any]
    value: float | None = None
    pruned: bool = False
    failed: bool = False
    epoch_values: Sequence[float] = field(default_factory=tuple)


def propose(
    space: Mapping[str, Choice | Range], tried: Sequence[Trial], direction: Direction, seed: int, draws: int
) -> dict[str, Any]:
    """The values to try next; deterministic for the same seed and the same ``tried``."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").propagate = False
    distributions = {name: _distribution(chosen) for name, chosen in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            # The number of trials is part of the seed, since the sampler is created anew each time.
            seed=(seed * 1_000_003 + len(tried)) % 2**32,
            n_startup_trials=max(2, min(STARTUP, draws // 3)),
            constant_liar=True,
            multivariate=True,
        )
        study = optuna.create_study(direction=direction, sampler=sampler)
        study.add_trials([_trial(chosen, space, distributions) for chosen in tried])
        suggested = study.ask(distributions).params
    return {name: _from_optuna(space[name], suggested[name]) for name in space}


def _distribution(chosen: Choice | Range) -> optuna.distributions.BaseDistribution:
    import optuna

    if isinstance(chosen, Choice):
        # By index: Optuna accepts only plain values, and a choice may be a list of heads.
        return optuna.distributions.CategoricalDistribution(range(len(chosen.choice)))
    if chosen.whole:
        low, high, step = int(chosen.low), int(chosen.high), int(chosen.step or 1)
        return optuna.distributions.IntDistribution(low, low + (high - low) // step * step, chosen.log, step)
    top = chosen.values()[-1] if chosen.step is not None else chosen.high
    return optuna.distributions.FloatDistribution(chosen.low, top, chosen.log, chosen.step)


def _from_optuna(chosen: Choice | Range, suggested: Any) -> Any:
    if isinstance(chosen, Choice):
        return chosen.choice[suggested]
    return int(suggested) if chosen.whole else chosen.nearest(float(suggested))


def _trial(
    tried: Trial,
    space: Mapping[str, Choice | Range],
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
) -> optuna.trial.FrozenTrial:
    import optuna

    states = optuna.trial.TrialState
    value = tried.value if tried.value is not None and math.isfinite(tried.value) else None
    reported = {epoch: value for epoch, value in enumerate(tried.epoch_values, 1) if math.isfinite(value)}
    if tried.pruned and reported:
        state, value = states.PRUNED, None
    elif tried.failed or tried.pruned:
        state, value = states.FAIL, None
    else:
        state = states.RUNNING if value is None else states.COMPLETE
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params={name: _to_optuna(value, tried.values[name]) for name, value in space.items()},
        distributions=dict(distributions),
        intermediate_values=reported if state == states.PRUNED else None,
    )


def _to_optuna(chosen: Choice | Range, value: Any) -> Any:
    if not isinstance(chosen, Choice):
        return value
    written = [str(choice) for choice in chosen.choice]
    return written.index(str(value)) if str(value) in written else 0
