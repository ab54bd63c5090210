"""The faults that can strike, and the seeded plan in which they do."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PARTIES = ("server", "recorder", "worker")
"""The processes that reach Redis, and the database, through links that can be cut; a trainer's link is the worker's."""


@dataclass(frozen=True)
class Fault:
    """A fault. ``seconds``: how long it lasts; ``amount``: seconds by which a clock is wrong, or bytes written.

    ``pause``: seconds until the next fault strikes.
    """

    kind: str
    target: str
    seconds: float = 0.0
    amount: int = 0
    pause: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        by = f" by {self.amount:+}" if self.amount else ""
        return f"{self.kind} {self.target}{by}{lasting}"


@dataclass(frozen=True)
class Kind:
    """A kind of fault and where it may strike, with how often in comparison with others; seconds from ... to ..."""

    name: str
    targets: dict[str, int]
    seconds: tuple[float, float] = (0.0, 0.0)


# Worker and trainer are struck less often: each start costs seconds in which nothing else could fail.
KINDS = (
    Kind("kill", {"server": 4, "recorder": 6, "worker": 1, "trainer": 5, "redis": 6, "postgresql": 4}),
    Kind(
        "freeze",
        {"server": 4, "recorder": 6, "worker": 3, "trainer": 5, "redis": 5, "postgresql": 4},
        (0.2, 4.0),
    ),
    Kind("cut link", {"server to redis": 3, "recorder to redis": 5, "worker to redis": 5}, (0.2, 4.0)),
    Kind("cut link", {"server to postgresql": 4, "recorder to postgresql": 6}, (0.2, 4.0)),
    Kind("halt link", {"server to redis": 3, "recorder to redis": 4, "worker to redis": 5}, (0.2, 4.0)),
    Kind("halt link", {"server to postgresql": 3, "recorder to postgresql": 4}, (0.2, 4.0)),
    Kind("full disk", {"data": 4}, (0.2, 2.0)),
    Kind("torn spool", {"trainer": 4}),
    Kind("wiped", {"redis": 5}),
    Kind("clock apart", {"server": 2, "recorder": 3, "worker": 3}, (0.5, 4.0)),
)


def plan(seed: int, database: str, without: Sequence[str] = ()) -> Iterator[Fault]:
    """Faults without end, always the same ones for a seed.

    ``without``: names of kinds that this machine cannot produce.
    """
    chance = random.Random(f"{seed} {database}")
    choices = [
        (kind, target, weight)
        for kind in KINDS
        for target, weight in kind.targets.items()
        if kind.name not in without and (database == "postgresql" or "postgresql" not in target)
    ]
    weights = [weight for *_, weight in choices]
    while True:
        [(kind, target, _)] = chance.choices(choices, weights)
        seconds = round(chance.uniform(*kind.seconds), 2)
        amounts = {"clock apart": chance.choice((-1, 1)) * chance.randint(2, 3600), "torn spool": chance.randint(1, 40)}
        # Some strike right after one another, others when all has recovered.
        pause = round(chance.choice((0.0, chance.uniform(0, 0.5), chance.uniform(0.5, 2.0))), 2)
        yield Fault(kind.name, target, seconds, amounts.get(kind.name, 0), pause)
