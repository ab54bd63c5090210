"""Finds the fastest way to run a network on this device by a few steps of each, and remembers it for the next run."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import nn

from app.contract.spec import RunConfig
from worker.data import Resident
from worker.datasets import Data, Split
from worker.inputs import Inputs
from worker.tuning import Tuning, asked_for

logger = logging.getLogger("runyard.trials")

TRIED_STEPS: Final = 5
"""Steps of each way that are timed, after one that is not; the quickest counts, since noise only slows."""

LONGEST_SHARE: Final = 0.05
"""Of the time that the run is expected to take, the most that is spent on trying, compiling apart."""

FEWEST_STEPS: Final = 60
"""A run of fewer steps is over before anything that is learned here could pay."""

WORTH: Final = 0.97
"""What a way may take of the time of the best one so far to be worth the change."""

COMPILING_PAYS_SECONDS: Final = 900.0
"""How long a run must be expected to take for compiling to be tried unasked: it takes up to a minute."""

_VERSION: Final = 1
_LOCK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Choice:
    """What was chosen, why in a few words, and the seconds a step of all that was tried (None: it failed)."""

    tuning: Tuning
    why: str
    seconds: dict[str, float | None]


class Trials:
    """Tries the network of a run, freshly built and on its device, on the first batch of its data."""

    def __init__(self, network: nn.Module, data: Data, inputs: Inputs, config: RunConfig, device: torch.device) -> None:
        self._network = network
        self._inputs = inputs
        self._config = config
        self._device = device
        self._tell: Callable[[float], None] = lambda share: None
        self._steps = len(data.train) // config.batch_size * config.epochs
        self._batch = _first(data, config.batch_size)
        self._heads = list(config.targets)
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
            # Blocking, it could not be stopped.
            while not _locked(lock.fileno()):
                tell(0.0)
                time.sleep(_LOCK_SECONDS)
            known = _read(file).get(self._key)
            if known is not None and (known["compiled"] or not self._may_compile(known["step_seconds"])):
                return Choice(Tuning(**known["tuning"]), "as found before on this machine", known["seconds"])
            return self._tried(plain, file)

    # Trying -----------------------------------------------------------------------------------------------------------

    def _tried(self, plain: Tuning, file: Path) -> Choice:
        asked = self._config.compile == "on"
        if self._steps < FEWEST_STEPS and not asked:
            return Choice(plain, f"{self._steps} steps are over before trying could pay", {})
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            one = self._seconds(plain, 1, 0.0)
            if math.isinf(one):
                return Choice(plain, "it could not be tried", {})  # why, training will say
            ways = self._ways(plain)
            steps = min(TRIED_STEPS, int(LONGEST_SHARE * self._steps / (len(ways) + 2)) - 1)
            compiles = asked or self._may_compile(one)
            if steps < 2 and not compiles:
                words = f"{one * self._steps:.1f} s of training are over before trying could pay"
                return Choice(plain, words, {str(plain): one})
            best, seconds = self._fastest(plain, ways, max(2, steps))
            if compiles:
                best = self._compiled(best, max(2, steps), seconds)
        said = {str(way): None if math.isinf(each) else each for way, each in seconds.items()}
        found = {"tuning": asdict(best), "seconds": said, "step_seconds": one, "compiled": compiles}
        _remember(file, self._key, found)
        return Choice(best, f"the fastest of {len(said)} ways that were tried", said)

    def _ways(self, plain: Tuning) -> list[Tuning]:
        convolves = any(each.ndim == 4 for each in self._network.parameters())
        layouts = (False, True) if convolves else (False,)
        precisions: tuple[Literal["32", "bf16"], ...] = (
            ("32", "bf16") if self._config.precision == "auto" else (plain.precision,)
        )
        every = [Tuning(precision, layout) for precision in precisions for layout in layouts]
        return [way for way in every if way != plain]

    def _fastest(self, plain: Tuning, ways: list[Tuning], steps: int) -> tuple[Tuning, dict[Tuning, float]]:
        """The best of all, and with it the other kernels of the optimiser."""
        seconds = {plain: self._seconds(plain, steps, 0.1)}
        best = plain
        for place, way in enumerate(ways):
            seconds[way] = self._seconds(way, steps, 0.2 + 0.6 * place / len(ways))
            best = way if seconds[way] < WORTH * seconds[best] else best
        way = replace(best, optimizer="foreach")
        seconds[way] = self._seconds(way, steps, 0.8)
        return (way if seconds[way] < WORTH * seconds[best] else best), seconds

    def _may_compile(self, step_seconds: float) -> bool:
        return self._config.compile == "auto" and step_seconds * self._steps > COMPILING_PAYS_SECONDS

    def _compiled(self, best: Tuning, steps: int, seconds: dict[Tuning, float]) -> Tuning:
        """``best`` compiled where that is faster; and where it was asked for, unless it cannot be had."""
        modes: tuple[Literal["on", "graphs"], ...] = ("on", "graphs") if self._device.type == "cuda" else ("on",)
        ways = [replace(best, compile=mode) for mode in modes]
        for way in ways:
            seconds[way] = self._seconds(way, steps, 0.9)
        fastest = min(ways, key=lambda way: seconds[way])
        if math.isinf(seconds[fastest]):
            return best
        return fastest if self._config.compile == "on" or seconds[fastest] < WORTH * seconds[best] else best

    def _seconds(self, way: Tuning, steps: int, share: float) -> float:
        """Seconds that a step takes; infinity where it cannot be run so: memory, a compiler, a network of one's own."""
        self._tell(share)
        try:
            return self._timed(way, steps)
        except Exception:
            logger.info("%s cannot be run in %s", self._config.family, way, exc_info=True)
            return math.inf
        finally:
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _timed(self, way: Tuning, steps: int) -> float:
        network = copy.deepcopy(self._network).train()
        way.place(network)
        resident = Resident(self._batch, self._device, inputs=self._inputs, memory_format=way.memory_format)
        optimizer = way.make_optimizer(network, self._config)
        forward = way.forward(network)
        indices = torch.arange(resident.size("train"), device=self._device)
        scalars = resident.scalars("train", indices)
        found = math.inf
        for step in range(steps + 1):
            began = self._now()
            images, targets = resident.batch("train", indices)
            optimizer.zero_grad(set_to_none=True)
            with way.autocast(self._device):
                output = forward(images) if scalars is None else forward(images, scalars)
                logits = output if isinstance(output, dict) else {self._heads[0]: output}
                loss = torch.stack([F.cross_entropy(each.float(), targets[name]) for name, each in logits.items()])
                total = loss.sum()
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step:
                found = min(found, self._now() - began)
        return found

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _key_of(self, data: Data) -> str:
        config, device = self._config, self._device
        about = {
            "version": _VERSION,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "network": hashlib.sha256(str(self._network).encode()).hexdigest()[:16],
            "images": list(data.train.images.shape[1:]),
            "targets": {name: data.dataset.target(name).classes for name in config.targets},
        }
        fields = ("family", "size", "options", "auxiliary", "batch_size", "optimizer", "precision", "compile")
        return json.dumps(about | config.model_dump(include=set(fields)), sort_keys=True)


def _first(data: Data, n: int) -> Data:
    """The first ``n`` training images, and one of each other split, which nothing is asked of."""

    def cut(split: Split, n: int) -> Split:
        scalars = None if split.auxiliary is None else split.auxiliary[:n]
        return Split(split.images[:n], {name: each[:n] for name, each in split.targets.items()}, scalars)

    return replace(data, train=cut(data.train, n), validation=cut(data.validation, 1), test=cut(data.test, 1))


def _processor() -> str:
    """The name of this machine's processor, or what is known of it."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine


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


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
