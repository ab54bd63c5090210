"""Finds the fastest way to run a network on this device by a few steps of each, and remembers it for the next run."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import nn

from app.contract.spec import RunConfig
from worker.data.datasets import Data, Split
from worker.data.inputs import Inputs
from worker.data.resident import Resident
from worker.environment import processor_name
from worker.lock import LOOK_SECONDS, locked
from worker.training.tuning import Tuning, asked_for

logger = logging.getLogger("runyard.trials")

TRIED_STEPS: Final = 5
"""Steps of each way that are timed, in turn with the others; the quickest counts, since noise only slows."""

LONGEST_SHARE: Final = 0.1
"""Of the time that the run is expected to take, the most that is spent on trying, compiling apart."""

FEWEST_STEPS: Final = 60
"""A run of fewer steps is over before anything that is learned here could pay."""

WORTH: Final = 0.97
"""What a way may take of the time of the best one so far to be worth the change."""

COMPILING_PAYS_ON: Final = ("cuda",)
"""Where compiling is tried unasked. On a CPU it was the fastest way of no network, and a run cannot be stopped while it
compiles, which takes up to a minute (docs/decisions/0013)."""

COMPILING_PAYS_SECONDS: Final = 900.0
"""How long a run must be expected to take there."""

_VERSION: Final = 1


@dataclass(frozen=True)
class Choice:
    """What was chosen, why in a few words, and the seconds a step of all that was tried (None: it failed)."""

    tuning: Tuning
    why: str
    seconds: dict[str, float | None]


class Autotuner:
    """Tries the network of a run, freshly built and on its device, on the first batch of its data."""

    def __init__(self, network: nn.Module, data: Data, inputs: Inputs, config: RunConfig, device: torch.device) -> None:
        self._network = network
        self._inputs = inputs
        self._config = config
        self._device = device
        self._tell: Callable[[float], None] = lambda share: None
        self._steps = len(data.train) // config.batch_size * config.epochs
        self._batch = _first(data, config.batch_size)
        self._key = self._key_of(data)

    def choose(self, file: Path, tell: Callable[[float], None]) -> Choice:
        """The fastest way of those that the run allows; one run of a machine at a time tries, the others wait.

        file: where choices are remembered. tell: called before each trial and while waiting, with the share of them
        that is done; what it raises ends them. A way that cannot be run is passed over, whatever it fails with.
        """
        self._tell = tell
        plain = asked_for(self._config)
        if self._config.deterministic:
            return Choice(plain, "deterministic, so nothing else was tried", {})
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".lock").open("a") as lock:
            while not locked(lock):
                tell(0.0)
                time.sleep(LOOK_SECONDS)
            known = _read(file).get(self._key)
            if known is not None and (known["compiled"] or not self._may_compile(known["step_seconds"])):
                return Choice(Tuning(**known["tuning"]), "as found before on this machine", known["seconds"])
            return self._tried(plain, file)

    # Trying -----------------------------------------------------------------------------------------------------------

    def _tried(self, plain: Tuning, file: Path) -> Choice:
        asked = self._config.compile == "on"
        if self._steps < FEWEST_STEPS and not asked:
            return Choice(plain, f"{self._steps} steps are over before trying could pay", {})
        # The kernels of the optimizer are tried by themselves: what they save is the same in every other way.
        kernels = replace(plain, optimizer="foreach")
        ways = [plain, *self._ways(plain), kernels]
        steps = min(TRIED_STEPS, int(LONGEST_SHARE * self._steps / len(ways)) - 1)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            if steps < 2:
                seconds = self._seconds([plain], 1)
                ways = [plain]
            else:
                seconds = self._seconds(ways, steps)
            one = seconds[plain]
            if math.isinf(one):
                return Choice(plain, "it could not be tried", {})  # why, training will say
            compiles = asked or self._may_compile(one)
            if ways == [plain] and not compiles:
                words = f"{one * self._steps:.1f} s of training are over before trying could pay"
                return Choice(plain, words, _said(seconds))
            best = min((way for way in ways if way != kernels), key=lambda way: seconds[way])
            best = best if seconds[best] < WORTH * one else plain
            if seconds.get(kernels, math.inf) < WORTH * one:
                best = replace(best, optimizer="foreach")
            if compiles:
                best = self._compiled(best, max(2, steps), seconds)
        found = {"tuning": asdict(best), "seconds": _said(seconds), "step_seconds": one, "compiled": compiles}
        _remember(file, self._key, found)
        return Choice(best, f"the fastest of {len(seconds)} ways that were tried", _said(seconds))

    def _ways(self, plain: Tuning) -> list[Tuning]:
        convolves = any(each.ndim == 4 for each in self._network.parameters())
        layouts = (False, True) if convolves else (False,)
        precisions: tuple[Literal["32", "bf16"], ...] = (
            ("32", "bf16") if self._config.precision == "auto" else (plain.precision,)
        )
        every = [Tuning(precision, layout) for precision in precisions for layout in layouts]
        return [way for way in every if way != plain]

    def _may_compile(self, step_seconds: float) -> bool:
        allowed = self._config.compile == "auto" and self._device.type in COMPILING_PAYS_ON
        return allowed and step_seconds * self._steps > COMPILING_PAYS_SECONDS

    def _compiled(self, best: Tuning, steps: int, seconds: dict[Tuning, float]) -> Tuning:
        """``best`` compiled where that is faster; and where it was asked for, unless it cannot be had."""
        modes: tuple[Literal["on", "graphs"], ...] = ("on", "graphs") if self._device.type == "cuda" else ("on",)
        ways = [replace(best, compile=mode) for mode in modes]
        seconds |= self._seconds([best, *ways], steps)
        fastest = min(ways, key=lambda way: seconds[way])
        if math.isinf(seconds[fastest]):
            return best
        return fastest if self._config.compile == "on" or seconds[fastest] < WORTH * seconds[best] else best

    def _seconds(self, ways: list[Tuning], steps: int) -> dict[Tuning, float]:
        """Seconds that a step takes in each way; infinity where it cannot be run so."""
        runners: dict[Tuning, _Runner] = {}
        found = dict.fromkeys(ways, math.inf)
        for turn in range(steps + 1):
            for place, way in enumerate(ways):
                self._tell((turn * len(ways) + place) / ((steps + 1) * len(ways)))
                try:
                    if turn == 0:  # builds, compiles, warms up
                        runners[way] = _Runner(
                            way, self._network, self._batch, self._inputs, self._config, self._device
                        )
                        runners[way].step()
                    elif way in runners:
                        found[way] = min(found[way], runners[way].timed())
                except Exception:  # memory, a compiler that is missing, a network of the user's own
                    logger.info("%s cannot be run in %s", self._config.family, way, exc_info=True)
                    runners.pop(way, None)
                    found[way] = math.inf
        runners.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return found

    def _key_of(self, data: Data) -> str:
        config, device = self._config, self._device
        about = {
            "version": _VERSION,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "network": hashlib.sha256(str(self._network).encode()).hexdigest()[:16],
            "images": list(data.train.images.shape[1:]),
            "targets": {name: data.dataset.target(name).classes for name in config.targets},
        }
        fields = ("family", "size", "options", "auxiliary", "batch_size", "optimizer", "precision", "compile")
        return json.dumps(about | config.model_dump(include=set(fields)), sort_keys=True)


class _Runner:
    """A copy of a network that makes steps of training in one way."""

    def __init__(
        self, way: Tuning, network: nn.Module, data: Data, inputs: Inputs, config: RunConfig, device: torch.device
    ) -> None:
        network = copy.deepcopy(network).train()
        way.place(network)
        self._way = way
        self._device = device
        self._first = config.targets[0]
        self._resident = Resident(data, device, inputs=inputs, memory_format=way.memory_format)
        self._optimizer = way.make_optimizer(network, config)
        self._forward = way.forward(network)
        self._indices = torch.arange(self._resident.size("train"), device=device)

    def timed(self) -> float:
        """Seconds of one step: on a CPU of its own work, since what other processes take is not this way's fault."""
        if self._device.type == "cpu":
            began = time.process_time()
            self.step()
            return (time.process_time() - began) / torch.get_num_threads()
        torch.cuda.synchronize(self._device)
        began = time.perf_counter()
        self.step()
        torch.cuda.synchronize(self._device)
        return time.perf_counter() - began

    def step(self) -> None:
        """Train on the batch once."""
        images, targets = self._resident.batch("train", self._indices)
        scalars = self._resident.scalars("train", self._indices)
        self._optimizer.zero_grad(set_to_none=True)
        with self._way.autocast(self._device):
            output = self._forward(images) if scalars is None else self._forward(images, scalars)
            logits = output if isinstance(output, dict) else {self._first: output}
            losses = [F.cross_entropy(each.float(), targets[name]) for name, each in logits.items()]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def _said(seconds: dict[Tuning, float]) -> dict[str, float | None]:
    return {str(way): None if math.isinf(each) else each for way, each in seconds.items()}


def _first(data: Data, n: int) -> Data:
    """The first ``n`` training images, and one of each other split, which nothing is asked of."""

    def cut(split: Split, n: int) -> Split:
        scalars = None if split.auxiliary is None else split.auxiliary[:n]
        return Split(split.images[:n], {name: each[:n] for name, each in split.targets.items()}, scalars)

    return replace(data, train=cut(data.train, n), validation=cut(data.validation, 1), test=cut(data.test, 1))


# What is remembered --------------------------------------------------------------------------------------------------


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}  # It is made anew.
    return found if isinstance(found, dict) else {}


def _remember(file: Path, key: str, choice: dict[str, Any]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(_read(file) | {key: choice}, indent=1))
    fresh.replace(file)
