"""Saves and restores checkpoints of one attempt at a run."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from app.contract.events import Checkpoint
from worker import checkpoint
from worker.checkpoint import State, Store
from worker.job import Job
from worker.module import Best, Classifier, Position
from worker.reporter import Reporter


class Keeper:
    """Two checkpoints: ``last`` to go on from, ``best`` to test and to use."""

    def __init__(self, job: Job, store: Store, module: Classifier, reporter: Reporter) -> None:
        self._folder = f"{job.run}/{job.fence}"
        self._config = job.config
        self._store = store
        self._module = module
        self._reporter = reporter
        self._every = job.settings.checkpoint_seconds
        self._saved_at = time.monotonic()

    def save_now_and_then(self) -> None:
        """After every step: save where an epoch takes long."""
        if time.monotonic() - self._saved_at > self._every:
            self._module.report_steps()  # a run that goes on from here must not miss them
            self.save()

    def after_validation(self, improved: bool) -> None:
        """Keep the weights when they are the best so far, and everything to go on from."""
        module = self._module
        if improved:
            module.best.path = f"{self._folder}/best.safetensors"
            state = State(module.network.state_dict(), {}, {}, self._what())
            self._store.write(module.best.path, checkpoint.to_bytes(state))
            self._say(module.best.path, best=True)
        self.save()

    def save(self) -> None:
        """Keep everything to go on from."""
        module = self._module
        self._saved_at = time.monotonic()
        best = asdict(module.best) | {"loss": None if module.best.epoch < 0 else module.best.loss}
        facts = self._what() | {
            "position": asdict(module.position),
            "best": best,
            "schedule": module.schedule.state(),
        }
        random = checkpoint.random_state(module.data.device, module.generator)
        state = State(module.network.state_dict(), module.optimizer.state_dict(), random, facts)
        path = f"{self._folder}/last.safetensors"
        self._store.write(path, checkpoint.to_bytes(state))
        self._say(path, best=False)

    def _what(self) -> dict[str, Any]:
        """What the network is and how it is fed: all that a prediction needs beside the weights."""
        module = self._module
        tuning = module.tuning.as_facts() | {"device": module.data.device.type}
        return {"config": self._config.model_dump(), "inputs": module.data.inputs.as_facts(), "tuning": tuning}

    def restore(self, state: State) -> None:
        """Go on where ``state`` was saved."""
        module = self._module
        module.network.load_state_dict(state.network)
        module.optimizer.load_state_dict(state.optimizer)
        self._lay_out_as_the_weights(module.optimizer)
        module.schedule.restore(state.facts["schedule"])
        module.position = Position(**state.facts["position"])
        best: dict[str, Any] = state.facts["best"]
        module.best = Best(**best | {"loss": float("inf") if best["loss"] is None else best["loss"]})
        checkpoint.restore_random_state(state.random, module.data.device, module.generator)
        self._reporter.say(f"goes on from step {module.position.step:,} in epoch {module.position.epoch + 1}")

    def _lay_out_as_the_weights(self, optimizer: torch.optim.Optimizer) -> None:
        """A checkpoint keeps tensors in the plain order; a fused optimiser goes through memory in the weights' own."""
        for weight, slots in optimizer.state.items():
            for name, value in slots.items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    slots[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    def load_best(self) -> None:
        """Put the best weights into the network."""
        state = checkpoint.from_bytes(self._store.read(self._module.best.path))
        self._module.network.load_state_dict(state.network)

    def _say(self, path: str, best: bool) -> None:
        position = self._module.position
        said = Checkpoint(path=path, epoch=position.epoch, step=position.step, best=best)
        self._reporter.event("checkpoint", said)
