"""What to try next, by Optuna's TPE: asked for a configuration, told what each reached.

It keeps no state of its own. Each time it is told anew what the database says of the sweep's runs, so that it goes on
where it was whenever the process that asks ends. Optuna is imported by the first question, not with this module.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.contract.sweep import WHOLE, Choice, Direction, Range
from app.sweeps.expand import rounded

if TYPE_CHECKING:
    import optuna

STARTUP = 10
"""So many configurations are drawn at random before the first is chosen; a third of the draws where they are few."""


@dataclass(frozen=True)
class Tried:
    """A configuration that was tried: ``value`` is the mean of its seeds, None while it trains.

    ``course``: the values after each epoch, for one that was ``pruned``. One that ended without a value was ``failed``.
    """

    values: Mapping[str, Any]
    value: float | None = None
    pruned: bool = False
    failed: bool = False
    course: Sequence[float] = field(default_factory=tuple)


def propose(
    space: Mapping[str, Choice | Range], tried: Sequence[Tried], direction: Direction, seed: int, draws: int
) -> dict[str, Any]:
    """The values to try next; the same for the same seed and the same ``tried``."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").propagate = False
    distributions = {name: _distribution(name, each) for name, each in space.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            # What was tried so far is part of the seed: the sampler is made anew each time.
            seed=(seed * 1_000_003 + len(tried)) % 2**32,
            n_startup_trials=max(2, min(STARTUP, draws // 3)),
            constant_liar=True,
            multivariate=True,
        )
        study = optuna.create_study(direction=direction, sampler=sampler)
        study.add_trials([_trial(each, space, distributions) for each in tried])
        asked = study.ask(distributions).params
    return {name: _said(name, space[name], asked[name]) for name in space}


def _distribution(name: str, chosen: Choice | Range) -> optuna.distributions.BaseDistribution:
    import optuna

    if isinstance(chosen, Choice):
        # By place: Optuna takes only plain values, and a choice may be a list of heads.
        return optuna.distributions.CategoricalDistribution(range(len(chosen.choice)))
    if name in WHOLE:
        low, high, step = int(chosen.low), int(chosen.high), int(chosen.step or 1)
        return optuna.distributions.IntDistribution(low, low + (high - low) // step * step, chosen.log, step)
    top = chosen.values()[-1] if chosen.step is not None else chosen.high
    return optuna.distributions.FloatDistribution(chosen.low, top, chosen.log, chosen.step)


def _said(name: str, chosen: Choice | Range, asked: Any) -> Any:
    if isinstance(chosen, Choice):
        return chosen.choice[asked]
    return int(asked) if name in WHOLE else rounded(name, float(asked), chosen)


def _trial(
    tried: Tried,
    space: Mapping[str, Choice | Range],
    distributions: Mapping[str, optuna.distributions.BaseDistribution],
) -> optuna.trial.FrozenTrial:
    import optuna

    states = optuna.trial.TrialState
    value = tried.value if tried.value is not None and math.isfinite(tried.value) else None
    course = {epoch: each for epoch, each in enumerate(tried.course, 1) if math.isfinite(each)}
    if tried.pruned and course:
        state, value = states.PRUNED, None
    elif tried.failed or tried.pruned:
        state, value = states.FAIL, None
    else:
        state = states.RUNNING if value is None else states.COMPLETE
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params={name: _asked(each, tried.values[name]) for name, each in space.items()},
        distributions=dict(distributions),
        intermediate_values=course if state == states.PRUNED else None,
    )


def _asked(chosen: Choice | Range, said: Any) -> Any:
    if not isinstance(chosen, Choice):
        return said
    written = [str(each) for each in chosen.choice]
    return written.index(str(said)) if str(said) in written else 0
