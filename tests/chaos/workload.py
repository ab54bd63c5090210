"""What users do while faults strike: they launch, stop and sweep runs, and scripts log some of their own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.chaos import script
from tests.chaos.history import Curves, History
from tests.chaos.yard import Yard
from tests.system.conftest import OFFLINE, ROOT

BASE: dict[str, Any] = {"dataset": "digits", "size": "tiny", "batch_size": 16, "epochs": 10, "seed": 3}
SPECS: dict[str, dict[str, Any]] = {
    "dense": BASE | {"family": "simple_dense_net", "lr": 0.003},
    "mlp": BASE | {"family": "simple_mlp", "optimizer": "adamw", "schedule": "cosine", "crop_padding": 2, "flip": True},
    "slow rate": BASE | {"family": "simple_mlp", "lr": 0.001},
    "fast rate": BASE | {"family": "simple_mlp", "lr": 0.004},
}
SWEPT = ("slow rate", "fast rate")
OPEN_RUNS = 3
SCRIPT_POINTS = 300
ANSWER_SECONDS = 10.0


class Workload:
    """Threads that act until told to stop, and write down what was acknowledged. ``errors``: what they raised."""

    def __init__(self, yard: Yard, history: History, seed: int, specs: tuple[str, ...] = tuple(SPECS)) -> None:
        self.yard = yard
        self.history = history
        self.errors: list[BaseException] = []
        self._specs = specs
        self._chance = random.Random(f"acts of {seed}")
        self._seed = seed
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._open: list[str] = []
        self._threads: list[threading.Thread] = []

    def make_references(self) -> None:
        """Train each specification once, with nothing in the way."""
        runs = {name: self.yard.up.launch(**SPECS[name]) for name in self._specs}
        for name, run in runs.items():
            self.yard.up.wait_for(run, "succeeded")
            found = self.yard.up.call(f"/runs/{run}/metrics?points=0")
            curves: Curves = {
                curve: list(zip(points["step"], points["value"], strict=True)) for curve, points in found.items()
            }
            self.history.reference(name, curves)
            self.history.launched(run, name)

    def start(self) -> None:
        """Begin to act."""
        for act in (self._launch, self._log):
            thread = threading.Thread(target=self._guarded, args=(act,))
            thread.start()
            self._threads.append(thread)

    def stop(self, seconds: float) -> None:
        """Begin nothing new; what has begun has so long to be acknowledged."""
        self._give_up_at = time.monotonic() + seconds
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                act()
        except BaseException as error:
            self.errors.append(error)

    # Runs ------------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._open = [run for run in self._open if not self._has_ended(run)]
        if len(self._open) >= OPEN_RUNS:
            self._stop.wait(0.3)
            return
        act = self._chance.choices((self._train, self._train_and_stop, self._sweep), (5, 2, 1))[0]
        act()

    def _train(self) -> str | None:
        name = self._chance.choice(self._specs)
        answer = self._insist("/runs", SPECS[name], f"chaos {self._seed} {self._chance.getrandbits(64):x}")
        if answer is None:
            return None
        run = str(answer["id"])
        self.history.launched(run, name)
        self._open.append(run)
        return run

    def _train_and_stop(self) -> None:
        run = self._train()
        self._stop.wait(self._chance.uniform(0.0, 4.0))
        if run is not None and self._insist(f"/runs/{run}/cancel", {}) is not None:
            self.history.stopped(run)

    def _sweep(self) -> None:
        if not set(SWEPT) <= set(self._specs):
            self._train()
            return
        base = {name: value for name, value in SPECS[SWEPT[0]].items() if name != "lr"}
        body = {"base": base, "grid": {"lr": [SPECS[name]["lr"] for name in SWEPT]}}
        answer = self._insist("/sweeps", body, f"chaos {self._seed} {self._chance.getrandbits(64):x}")
        if answer is not None:
            self.history.swept(str(answer["id"]), list(SWEPT))

    def _has_ended(self, run: str) -> bool:
        found = self.yard.up.try_call(f"/runs/{run}")
        return bool(found) and found["status"] in ("succeeded", "failed", "cancelled")

    def _insist(self, path: str, body: dict[str, Any], key: str = "") -> Any:
        """The answer to a request that may be repeated; None if it has no answer, or is refused as its run has ended.

        With a ``key``, a repeated request does what it asks for once.
        """
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        while True:
            request = urllib.request.Request(f"{self.yard.up.address}/api/v1{path}", json.dumps(body).encode(), headers)
            try:
                with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 409:
                        return None
                    if error.code < 500:
                        raise AssertionError(f"POST {path}: {error.code} {error.read()!r}") from error
            except (OSError, ValueError):
                # The answer was cut off, or none came: the same question again.
                pass
            if time.monotonic() > self._give_up_at:
                self.history.unanswered(f"POST {path}")
                return None
            time.sleep(0.1)

    # Scripts ---------------------------------------------------------------------------------------------------------

    def _log(self) -> None:
        """Run a script of a user until the server has all that it logged."""
        seed = self._chance.getrandbits(32)
        spool = self.yard.folder / "client"
        environment = {**os.environ, **OFFLINE, "RUNYARD_URL": self.yard.up.address, "RUNYARD_SPOOL_DIR": str(spool)}
        command = [sys.executable, "-m", "tests.chaos.script", str(seed), str(SCRIPT_POINTS)]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                if time.monotonic() > self._give_up_at:
                    process.kill()
                    self.history.unanswered(f"the script {seed}")
                    return
                time.sleep(0.1)
            assert process.stdout is not None
            said = process.stdout.read().split()
        if process.returncode or not said:
            raise AssertionError(f"the script {seed} ended with exit status {process.returncode}")
        self.history.logged(said[-1], script.curves(seed, SCRIPT_POINTS))
        self._stop.wait(1.0)
