"""What users do while faults strike: they launch, stop, continue and sweep runs; scripts and commands log their own."""

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
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from app.contract.command import Command
from app.contract.command_key import ensure_key, read_key, sign
from runyard import Runyard
from tests.chaos import script
from tests.chaos.history import Curves, History
from tests.chaos.yard import Yard, wait_until
from tests.system.running_yard import OFFLINE, ROOT

BASE: dict[str, Any] = {"dataset": "digits", "size": "tiny", "batch_size": 16, "epochs": 10, "seed": 3}
SPECS: dict[str, dict[str, Any]] = {
    "dense": BASE | {"family": "simple_dense_net", "lr": 0.003},
    "mlp": BASE | {"family": "simple_mlp", "optimizer": "adamw", "schedule": "cosine", "crop_padding": 2, "flip": True},
    "slow rate": BASE | {"family": "simple_mlp", "lr": 0.001},
    "fast rate": BASE | {"family": "simple_mlp", "lr": 0.004},
    # A constant rate: only then does a longer run begin like a shorter one.
    "short": BASE | {"family": "simple_mlp", "schedule": "constant"},
    "extended": BASE | {"family": "simple_mlp", "schedule": "constant", "epochs": 14},
    "good": BASE | {"family": "simple_mlp", "epochs": 40, "lr": 0.003},
    "fair": BASE | {"family": "simple_mlp", "epochs": 40, "lr": 0.001},
    "hopeless": BASE | {"family": "simple_mlp", "epochs": 40, "lr": 1e-9},
}
LAUNCHED = ("dense", "mlp", "slow rate", "fast rate", "short")
SWEPT = ("slow rate", "fast rate")
PRUNED = ("good", "fair", "hopeless")
EXTENDED = {"short": "extended"}
ENDED = ("succeeded", "failed", "cancelled")
OPEN_RUNS = 6
RESTARTS = 100
STOPPED_AT_ONCE = 0.3
SCRIPT_POINTS = 300
ANSWER_SECONDS = 10.0
NO_ANSWER = (OSError, ValueError, HTTPException)
"""What a request raises that got no answer, or only part of one."""


class Workload:
    """Threads that act until told to stop, and write down what was acknowledged.

    ``errors``: what they raised; ``ended``: how many runs of a worker were seen to have ended.
    """

    def __init__(self, yard: Yard, history: History, seed: int, specs: tuple[str, ...] = tuple(SPECS)) -> None:
        self.yard = yard
        self.history = history
        self.errors: list[BaseException] = []
        self.ended = 0
        self._specs = specs
        self._launched = [name for name in LAUNCHED if name in specs]
        self._chance = random.Random(f"acts of {seed}")
        self._scripts = random.Random(f"scripts of {seed}")
        self._seed = seed
        self._stop = threading.Event()
        self._give_up_at = float("inf")
        self._open: list[str] = []
        self._acts: list[Callable[[], object]] = []
        self._to_stop: dict[str, str] = {}
        self._stopping: dict[str, str] = {}
        self._extending: dict[str, str] = {}
        self._commands: dict[str, Path] = {}
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

    def finish(self, seconds: float) -> None:
        """Send what killed attempts of commands left, as `runyard sync` does, and write down what these had noted."""
        for run, folder in self._commands.items():
            for attempt, points in script.notes(folder).items():
                self.history.noted(run, attempt, points)
            os.environ["RUNYARD_SPOOL_DIR"] = str(folder)
            with Runyard(self.yard.up.address) as client:
                wait_until(partial(_sync, client, folder), seconds)
            del os.environ["RUNYARD_SPOOL_DIR"]
            if left := [path.name for path in folder.glob("*.jsonl")]:
                self.history.unanswered(f"what attempts of command {run} left: {', '.join(left)}")

    # Runs ------------------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        still_open = [run for run in self._open if self._status(run) not in ENDED]
        self.ended += len(self._open) - len(still_open)
        self._open = still_open
        self._stop_trained()
        self._continue(self._stopping, "cancelled", {})
        self._continue(self._extending, "succeeded", {"epochs": SPECS["extended"]["epochs"]})
        if len(self._open) >= OPEN_RUNS:
            self._stop.wait(0.3)
            return
        if not self._acts:
            # Each comes as often as here, in an order of chance.
            often: list[Callable[[], object]] = [self._train, self._train_and_stop, self._command]
            self._acts = [*often, *often, self._train_and_stop, self._sweep, self._sweep_and_prune]
            self._chance.shuffle(self._acts)
        self._acts.pop()()

    def _train(self) -> tuple[str, str] | None:
        name = self._chance.choice(self._launched)
        answer = self._insist("/runs", SPECS[name], self._key())
        if answer is None:
            return None
        run = str(answer["id"])
        self.history.launched(run, name)
        self._open.append(run)
        if EXTENDED.get(name) in self._specs:
            self._extending[run] = EXTENDED[name]
        return run, name

    def _train_and_stop(self) -> None:
        """Launch a run that is stopped soon, while it is queued as well, or else as soon as it is trained."""
        launched = self._train()
        if launched is None:
            return
        if self._chance.random() < STOPPED_AT_ONCE:
            self._stop.wait(self._chance.uniform(0.0, 4.0))
            self._stop_run(*launched)
        else:
            self._to_stop[launched[0]] = launched[1]

    def _stop_trained(self) -> None:
        for run, reference in list(self._to_stop.items()):
            status = self._status(run)
            if status == "running" or status in ENDED:
                del self._to_stop[run]
                self._stop_run(run, reference)

    def _stop_run(self, run: str, reference: str) -> None:
        if self._insist(f"/runs/{run}/cancel", {}) is not None:
            self.history.stopped(run)
            self._stopping[run] = reference

    def _continue(self, runs: dict[str, str], ended: str, body: dict[str, Any]) -> None:
        """Continue those of these runs that have ended so; ``runs``: the reference that the whole will have."""
        for run, reference in list(runs.items()):
            status = self._status(run)
            if status not in ENDED:
                continue
            del runs[run]
            if status == ended and (child := self._continue_once(run, reference, body)):
                self._open.append(child)

    def _continue_once(self, parent: str, reference: str, body: dict[str, Any]) -> str | None:
        """The run that continues another one. A request that does so has no key, so it is not repeated."""
        try:
            answer = self._send(f"/runs/{parent}/resume", body)
        except urllib.error.HTTPError as error:
            with error:
                answer = error.read()
                if error.code == 409 and not body and b"before its first checkpoint" in answer:
                    return None
                if error.code < 500:
                    raise AssertionError(f"resume {parent}: {error.code} {answer!r}") from error
        except NO_ANSWER:
            # It may have been done nevertheless, or may still be.
            pass
        else:
            self.history.continued(str(answer["id"]), parent, reference)
            return str(answer["id"])
        self.history.unsure(parent, reference)
        return None

    def _sweep(self) -> None:
        self._launch_sweep(SWEPT, {})

    def _sweep_and_prune(self) -> None:
        # Compared with both others, so that a run is pruned for one reason only.
        self._launch_sweep(PRUNED, {"pruning": "median", "prune_after_epochs": 2, "prune_after_runs": 2})

    def _launch_sweep(self, names: tuple[str, ...], more: dict[str, Any]) -> None:
        if not set(names) <= set(self._specs):
            self._train()
            return
        base = {name: value for name, value in SPECS[names[0]].items() if name != "lr"}
        body = {"base": base, "grid": {"lr": [SPECS[name]["lr"] for name in names]}, **more}
        answer = self._insist("/sweeps", body, self._key())
        if answer is not None:
            self.history.swept(str(answer["id"]), list(names), bool(more))
            self._open += answer["runs"]

    def _command(self) -> None:
        """Launch a script as `runyard exec` does: signed with the key in the data folder."""
        seed = self._chance.getrandbits(32)
        folder = self.yard.folder / "commands" / str(seed)
        folder.mkdir(parents=True)
        command = Command(
            argv=[sys.executable, "-m", "tests.chaos.script", str(seed), str(SCRIPT_POINTS)],
            folder=str(ROOT),
            environment={**OFFLINE, "PYTHONPATH": str(ROOT), "RUNYARD_SPOOL_DIR": str(folder)},
            url=self.yard.up.address,
        )
        key = read_key(ensure_key(self.yard.data))
        body = {
            "command": command.model_copy(update={"signature": sign(key, command)}).model_dump(),
            "restarts": RESTARTS,
        }
        answer = self._insist("/commands", body, self._key())
        if answer is not None:
            run = str(answer["id"])
            self.history.commanded(run, script.curves(seed, SCRIPT_POINTS))
            self._commands[run] = folder
            self._open.append(run)

    def _key(self) -> str:
        return f"chaos {self._seed} {self._chance.getrandbits(64):x}"

    def _status(self, run: str) -> str:
        try:
            found = self.yard.up.try_call(f"/runs/{run}")
        except NO_ANSWER:
            return ""
        return str(found["status"]) if found else ""

    def _insist(self, path: str, body: dict[str, Any], key: str = "") -> Any:
        """The answer to a request that may be repeated; None if it has no answer, or is refused as its run has ended.

        With a ``key``, a repeated request does what it asks for once.
        """
        while True:
            try:
                return self._send(path, body, key)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 409:
                        return None
                    if error.code < 500:
                        raise AssertionError(f"POST {path}: {error.code} {error.read()!r}") from error
            except NO_ANSWER:
                # The answer was cut off, or none came: the same question again.
                pass
            if time.monotonic() > self._give_up_at:
                self.history.unanswered(f"POST {path}")
                return None
            time.sleep(0.1)

    def _send(self, path: str, body: dict[str, Any], key: str = "") -> Any:
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        request = urllib.request.Request(f"{self.yard.up.address}/api/v1{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    # Scripts ---------------------------------------------------------------------------------------------------------

    def _log(self) -> None:
        """Run a script of a user until the server has all that it logged."""
        seed = self._scripts.getrandbits(32)
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


def _sync(client: Runyard, folder: Path) -> bool:
    """Send what is left in a folder; whether nothing is."""
    for _ in client.sync():
        pass
    return not any(folder.glob("*.jsonl"))
