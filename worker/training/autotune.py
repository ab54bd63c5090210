"""Finds the fastest way to train a network on this device by timing a few steps of each, and caches the result."""

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
from worker.data.device_dataset import Resident
from worker.data.inputs import Inputs
from worker.environment import processor_name
from worker.lock import POLL_SECONDS, try_lock
from worker.training.tuning import Tuning, requested_tuning

logger = logging.getLogger("runyard.autotune")

TRIAL_STEPS: Final = 5
"""Timed steps per candidate, alternating between candidates; the fastest counts, since noise only slows."""

MAX_TIME_SHARE: Final = 0.1
"""Maximum share of the expected training time spent on trials, not counting compilation."""

MIN_RUN_STEPS: Final = 60
"""A shorter run is over before the trials could pay off."""

WORTHWHILE_RATIO: Final = 0.97
"""A candidate must take at most this share of the best time so far to be worth the change."""

COMPILE_DEVICES: Final = ("cuda",)
"""Devices where compilation is tried by default.

On a CPU it was the fastest candidate for no network, and a run cannot be stopped while it compiles, which takes up to a
minute (docs/decisions/0013).
"""

COMPILE_MIN_SECONDS: Final = 900.0
"""Minimum expected training time for compilation on those devices."""

_VERSION: Final = 1


@dataclass(frozen=True)
class Choice:
    """The chosen tuning, a short reason, and the seconds per step of each candidate (None: it failed)."""

    tuning: Tuning
    reason: str
    seconds: dict[str, float | None]


class Autotuner:
    """Times a new network, on its device, on the first batch of its data."""

    def __init__(self, network: nn.Module, data: Data, inputs: Inputs, config: RunConfig, device: torch.device) -> None:
        self._network = network
        self._inputs = inputs
        self._config = config
        self._device = device
        self._on_progress: Callable[[float], None] = lambda share: None
        self._steps = len(data.train) // config.batch_size * config.epochs
        self._batch = _first(data, config.batch_size)
        self._key = self._cache_key(data)

    def choose(self, file: Path, on_progress: Callable[[float], None]) -> Choice:
        """Return the fastest candidate that the run allows; one run per machine tries at a time, the others wait.

        file: the cache of choices. on_progress: called with the share of trials done, 0 to 1, before each trial and
        while another run tries; an exception that it raises ends the trials. A candidate that fails is skipped,
        whatever the error.
        """
        self._on_progress = on_progress
        plain = requested_tuning(self._config)
        if self._config.deterministic:
            return Choice(plain, "deterministic run, so no alternatives were tried", {})
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".lock").open("a") as lock:
            while not try_lock(lock):
                on_progress(0.0)
                time.sleep(POLL_SECONDS)
            known = _read(file).get(self._key)
            if known is not None and (known["compiled"] or not self._may_compile(known["step_seconds"])):
                return Choice(
                    Tuning(**known["tuning"]), "the fastest in earlier trials on this machine", known["seconds"]
                )
            return self._run_trials(plain, file)

    # Trials
    # -------------------------------------------------------------------------------------------------------------

    def _run_trials(self, plain: Tuning, file: Path) -> Choice:
        requested = self._config.compile == "on"
        if self._steps < MIN_RUN_STEPS and not requested:
            return Choice(plain, f"too few steps ({self._steps}) to benefit from trials", {})
        # The optimizer's kernels are tried separately: they save the same time in every other candidate.
        kernels = replace(plain, optimizer="foreach")
        candidates = [plain, *self._alternatives(plain), kernels]
        steps = min(TRIAL_STEPS, int(MAX_TIME_SHARE * self._steps / len(candidates)) - 1)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            if steps < 2:
                seconds = self._seconds([plain], 1)
                candidates = [plain]
            else:
                seconds = self._seconds(candidates, steps)
            plain_seconds = seconds[plain]
            if math.isinf(plain_seconds):
                return Choice(plain, "the speed trial failed", {})  # training will report why
            compiles = requested or self._may_compile(plain_seconds)
            if candidates == [plain] and not compiles:
                reason = f"training is too short ({plain_seconds * self._steps:.1f} s) to benefit from trials"
                return Choice(plain, reason, _as_json(seconds))
            best = min((tuning for tuning in candidates if tuning != kernels), key=lambda tuning: seconds[tuning])
            best = best if seconds[best] < WORTHWHILE_RATIO * plain_seconds else plain
            if seconds.get(kernels, math.inf) < WORTHWHILE_RATIO * plain_seconds:
                best = replace(best, optimizer="foreach")
            if compiles:
                best = self._compiled(best, max(2, steps), seconds)
        entry = {
            "tuning": asdict(best),
            "seconds": _as_json(seconds),
            "step_seconds": plain_seconds,
            "compiled": compiles,
        }
        _save(file, self._key, entry)
        return Choice(best, f"the fastest of {len(seconds)} tested", _as_json(seconds))

    def _alternatives(self, plain: Tuning) -> list[Tuning]:
        convolutional = any(parameter.ndim == 4 for parameter in self._network.parameters())
        layouts = (False, True) if convolutional else (False,)
        precisions: tuple[Literal["32", "bf16"], ...] = (
            ("32", "bf16") if self._config.precision == "auto" else (plain.precision,)
        )
        tunings = [Tuning(precision, layout) for precision in precisions for layout in layouts]
        return [tuning for tuning in tunings if tuning != plain]

    def _may_compile(self, step_seconds: float) -> bool:
        allowed = self._config.compile == "auto" and self._device.type in COMPILE_DEVICES
        return allowed and step_seconds * self._steps > COMPILE_MIN_SECONDS

    def _compiled(self, best: Tuning, steps: int, seconds: dict[Tuning, float]) -> Tuning:
        """Return ``best`` compiled if that is faster, or if the run requests compilation and it works."""
        modes: tuple[Literal["on", "graphs"], ...] = ("on", "graphs") if self._device.type == "cuda" else ("on",)
        candidates = [replace(best, compile=mode) for mode in modes]
        seconds |= self._seconds([best, *candidates], steps)
        fastest = min(candidates, key=lambda tuning: seconds[tuning])
        if math.isinf(seconds[fastest]):
            return best
        return fastest if self._config.compile == "on" or seconds[fastest] < WORTHWHILE_RATIO * seconds[best] else best

    def _seconds(self, candidates: list[Tuning], steps: int) -> dict[Tuning, float]:
        """Seconds per step of each candidate; infinity if it cannot run."""
        runners: dict[Tuning, _Runner] = {}
        fastest = dict.fromkeys(candidates, math.inf)
        for turn in range(steps + 1):
            for place, tuning in enumerate(candidates):
                self._on_progress((turn * len(candidates) + place) / ((steps + 1) * len(candidates)))
                try:
                    if turn == 0:  # builds, compiles, warms up
                        runners[tuning] = _Runner(
                            tuning, self._network, self._batch, self._inputs, self._config, self._device
                        )
                        runners[tuning].step()
                    elif tuning in runners:
                        fastest[tuning] = min(fastest[tuning], runners[tuning].timed())
                except Exception:  # out of memory, a missing compiler, a user's network
                    logger.info("%s cannot run with %s", self._config.family, tuning, exc_info=True)
                    runners.pop(tuning, None)
                    fastest[tuning] = math.inf
        runners.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return fastest

    def _cache_key(self, data: Data) -> str:
        config, device = self._config, self._device
        key = {
            "version": _VERSION,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "network": hashlib.sha256(str(self._network).encode()).hexdigest()[:16],
            "images": list(data.train.images.shape[1:]),
            "targets": {name: data.dataset.target(name).classes for name in config.targets},
        }
        fields = ("family", "size", "options", "auxiliary", "batch_size", "optimizer", "precision", "compile")
        return json.dumps(key | config.model_dump(include=set(fields)), sort_keys=True)


class _Runner:
    """A copy of a network that trains with one tuning."""

    def __init__(
        self, tuning: Tuning, network: nn.Module, data: Data, inputs: Inputs, config: RunConfig, device: torch.device
    ) -> None:
        network = copy.deepcopy(network).train()
        tuning.place(network)
        self._tuning = tuning
        self._device = device
        self._first = config.targets[0]
        self._resident = Resident(data, device, inputs=inputs, memory_format=tuning.memory_format)
        self._optimizer = tuning.make_optimizer(network, config)
        self._forward = tuning.forward(network)
        self._indices = torch.arange(self._resident.size("train"), device=device)

    def timed(self) -> float:
        """Seconds of one step: on a CPU its own processor time, so that other processes do not count."""
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
        with self._tuning.autocast(self._device):
            output = self._forward(images) if scalars is None else self._forward(images, scalars)
            logits = output if isinstance(output, dict) else {self._first: output}
            losses = [F.cross_entropy(output.float(), targets[name]) for name, output in logits.items()]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()


def _as_json(seconds: dict[Tuning, float]) -> dict[str, float | None]:
    return {str(tuning): None if math.isinf(value) else value for tuning, value in seconds.items()}


def _first(data: Data, n: int) -> Data:
    """The first ``n`` training images, and one image of the other splits, which are not used."""

    def cut(split: Split, n: int) -> Split:
        scalars = None if split.auxiliary is None else split.auxiliary[:n]
        return Split(split.images[:n], {name: values[:n] for name, values in split.targets.items()}, scalars)

    return replace(data, train=cut(data.train, n), validation=cut(data.validation, 1), test=cut(data.test, 1))


# Cached choices ------------------------------------------------------------------------------------------------------


def _read(file: Path) -> dict[str, Any]:
    try:
        cached = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}  # it is created again
    return cached if isinstance(cached, dict) else {}


def _save(file: Path, key: str, choice: dict[str, Any]) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(_read(file) | {key: choice}, indent=1))
    fresh.replace(file)
