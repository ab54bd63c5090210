"""A user's script that logs a run: ``python -m tests.chaos.script SEED POINTS``; prints the run's ID at its end."""

from __future__ import annotations

import random
import sys
import time

from runyard import Runyard
from tests.chaos.history import Curves


def curves(seed: int, points: int) -> Curves:
    """What the script logs."""
    chance = random.Random(seed)
    return {"loss": [(step, chance.random()) for step in range(points)]}


def main(seed: int, points: int) -> None:
    """Log the points, within about two seconds unless something is in the way, and wait until the server has them."""
    with Runyard() as yard:
        run = yard.start(f"script {seed}")
        for step, value in curves(seed, points)["loss"]:
            run.log({"loss": value}, step)
            time.sleep(0.005)
        run.finish(timeout=600)
        print(run.id)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
