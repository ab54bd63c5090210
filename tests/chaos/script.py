"""A user's script that logs a run: ``python -m tests.chaos.script SEED POINTS``; prints the run's ID at its end.

Started by Runyard, it logs under the number of its attempt, and notes how many points are in the files of its client.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from runyard import LoggedRun, Runyard
from tests.chaos.history import Curves

NOTED_POINTS = 30
"""After so many points, a command waits until they are on its disk, and notes it."""


def curves(seed: int, points: int) -> Curves:
    """What the script logs, without the prefix of an attempt."""
    chance = random.Random(seed)
    return {"loss": [(step, chance.random()) for step in range(points)]}


def main(seed: int, points: int) -> None:
    """Log the points, within some seconds unless something is in the way, and wait until the server has them."""
    attempt = int(os.environ["RUNYARD_ATTEMPT"]) if "RUNYARD_RUN_ID" in os.environ else 0
    name = f"attempt {attempt}/loss" if attempt else "loss"
    with Runyard() as yard:
        run = yard.start(f"script {seed}")
        for step, value in curves(seed, points)["loss"]:
            run.log({name: value}, step)
            if attempt and (step + 1) % NOTED_POINTS == 0:
                _note(run, attempt, step + 1)
            time.sleep(0.005)
        run.finish(timeout=600)
        if run.stopped:
            sys.exit("the server accepts no more data of this run")
        print(run.id)


def notes(folder: Path) -> dict[int, int]:
    """How many points the attempts of a command have noted in the folder of their client, by attempt."""
    return {int(path.suffix[1:]): int(path.read_text()) for path in folder.glob("noted.*")}


def _note(run: LoggedRun, attempt: int, points: int) -> None:
    """Wait until so many points are on the disk, and note it so that the note is there as a whole or not at all."""
    folder = Path(os.environ["RUNYARD_SPOOL_DIR"])
    while not run.stopped and points not in written(folder, f"attempt {attempt}/loss"):
        time.sleep(0.01)
    draft = folder / "draft"
    draft.write_text(str(points))
    draft.rename(folder / f"noted.{attempt}")


def written(folder: Path, name: str) -> set[int]:
    """How many points end the parts on the disk: one more than the step of the last one in each."""
    found = set()
    for path in folder.glob("*.jsonl"):
        try:
            lines = path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            # One of an earlier attempt, which has just been sent.
            continue
        for line in lines:
            for curve, points in json.loads(line).get("curves", {}).items():
                if curve == name:
                    found.add(points["step"][-1] + 1)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
