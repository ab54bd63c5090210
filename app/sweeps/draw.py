"""Random draws from the values of a sweep, the same ones each time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from app.contract.spec import SpecError
from app.contract.sweep import Choice, Range

TRIES = 60
"""Maximum number of attempts per new draw."""
Values = dict[str, Any]
Space = Mapping[str, Choice | Range]
PlannedT = TypeVar("PlannedT")


def draw(space: Space, dice: random.Random) -> Values:
    """Draw one point of a space, choices first."""
    choices = {name: dice.choice(chosen.choice) for name, chosen in space.items() if isinstance(chosen, Choice)}
    return choices | {name: _point(chosen, dice) for name, chosen in space.items() if isinstance(chosen, Range)}


def draw_distinct(
    space: Space, seed: Any, count: int, plan: Callable[[Values], PlannedT], key: Callable[[PlannedT], str]
) -> Iterator[PlannedT]:
    """Up to ``count`` planned draws with different keys; the first n are the same for any larger ``count``.

    ``plan`` raises SpecError for a point that is left out.
    """
    seen: set[str] = set()
    for at in range(count * TRIES):
        if len(seen) == count:
            return
        values = draw(space, random.Random(f"{seed}/{at}"))
        try:
            planned = plan(values)
        except SpecError:
            continue
        if (found := key(planned)) not in seen:
            seen.add(found)
            yield planned


def _point(chosen: Range, dice: random.Random) -> float:
    if chosen.step is not None:
        return dice.choice(chosen.values())
    if chosen.log:
        return chosen.nearest(math.exp(dice.uniform(math.log(chosen.low), math.log(chosen.high))))
    if chosen.whole:
        return chosen.nearest(dice.randint(int(chosen.low), int(chosen.high)))
    return chosen.nearest(dice.uniform(chosen.low, chosen.high))
