"""Saves and restores checkpoints of one attempt at a run."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import torch

from app.contract.events import Checkpoint
from app.contract.spec import RunConfig
from worker.job import Job
from worker.reporting.reporter import Reporter
from worker.training import checkpoint_file
from worker.training.checkpoint_file import State, Store
from worker.training.module import Classifier
from worker.training.nonfinite_guard import all_finite
from worker.training.position import Best, Course, Position

KEPT_BYTES = 2 * 10**9
"""What the checkpoints that are kept to fork from may take of a run: where they are large, fewer are kept."""

OF_THE_OPTIMIZER = ("weight_decay", "momentum")
"""What a fork can ask to be otherwise than in the optimizer's state that it goes on with; lr is set in every step."""


class Checkpointer:
    """Two checkpoints, ``last`` to go on from and ``best`` to test and to use; and some ends of epochs to fork from.

    Each ``last`` has a name of its own, and stays until a later one is known to the recorder: a trainer that is killed
    goes on from what the recorder knows, and what was reported since then is made anew. What a run was begun with lies
    under ``<run>/0/``, where the server has put it.
    """

    def __init__(self, job: Job, store: Store, module: Classifier, reporter: Reporter) -> None:
        self._run = job.run
        self._folder = f"{job.run}/{job.fence}"
        self._begun = job.resume is not None and job.resume.path.startswith(f"{job.run}/0/")
        self._config: RunConfig = module.config
        self._store = store
        self._module = module
        self._reporter = reporter
        self._every = job.settings.checkpoint_seconds
        self._saved_at = time.monotonic()
        self._spoilt = False
        self._kept_all = True
        self._said = 0
        self._lasts: list[tuple[int, str]] = []

    def save_now_and_then(self) -> None:
        """After every step: save where an epoch takes long; not before a validation, which comes with its own."""
        module = self._module
        if time.monotonic() - self._saved_at > self._every and module.position.done < module.steps_per_epoch:
            module.report_steps()  # a run that goes on from here must not miss them
            self.save()

    def after_validation(self, improved: bool) -> None:
        """Keep the weights when they are the best so far, and everything to go on from."""
        if self._is_spoilt():
            return
        if improved:
            self._write_best(self._module.network.state_dict())
        content = self._write_last()
        self._keep(content)

    def keep_now(self) -> bool:
        """Save as now and then, and keep a copy that stays; False when the weights are not finite."""
        if self._is_spoilt():
            return False
        self._module.report_steps()
        self._write_kept(self._write_last(), f"step-{self._module.position.step}")
        return True

    def save(self) -> None:
        """Keep everything to go on from; weights that are not finite never take the place of those that were."""
        if not self._is_spoilt():
            self._write_last()

    def _is_spoilt(self) -> bool:
        self._saved_at = time.monotonic()
        if all_finite(self._module.network):
            return False
        if not self._spoilt:
            self._reporter.say("the weights are not finite: the checkpoint from before is kept", "warning")
        self._spoilt = True
        return True

    def _write_best(self, weights: dict[str, torch.Tensor]) -> None:
        best = self._module.best
        best.path = f"{self._folder}/best.safetensors"
        self._store.write(best.path, checkpoint_file.to_bytes(State(weights, {}, {}, self._what())))
        self._say(best.path, best=True)

    def _write_last(self) -> bytes:
        path = f"{self._folder}/last-{self._module.position.step}.safetensors"
        content = checkpoint_file.to_bytes(self._state())
        self._store.write(path, content)
        self._say(path)
        if not self._lasts or self._lasts[-1][1] != path:
            self._lasts.append((self._said, path))
        self._remove_older()
        return content

    def _remove_older(self) -> None:
        """Of the checkpoints to go on from, those stay that may be asked for: from the newest committed one on."""
        safe = self._reporter.safe_checkpoints()
        while len(self._lasts) > 1 and self._lasts[1][0] <= safe:
            self._store.remove(self._lasts.pop(0)[1])

    def _state(self) -> State:
        module = self._module
        best = asdict(module.best) | {"loss": None if module.best.epoch < 0 else module.best.loss}
        facts = self._what() | {
            "position": asdict(module.position),
            "best": best,
            "schedule": module.schedule.state(),
            "course": asdict(module.course),
        }
        random = checkpoint_file.random_state(module.data.device, module.generator)
        return State(module.network.state_dict(), module.optimizer.state_dict(), random, facts)

    # To fork from -----------------------------------------------------------------------------------------------------

    def _keep(self, last: bytes) -> None:
        """Keep the end of this epoch to fork from, if it is one of those that are evenly spread over the run."""
        module, asked = self._module, self._config.keep_checkpoints
        many = min(asked, KEPT_BYTES // len(last))
        if many < asked and self._kept_all:
            self._kept_all = False
            self._reporter.say(f"keeps {many} ends of epochs to fork from, not {asked}: they take {len(last):,} B each")
        epoch = module.position.epoch
        if is_kept(epoch, module.course.epochs, many):
            self._write_kept(last, f"epoch-{epoch}")

    def _write_kept(self, last: bytes, name: str) -> None:
        epoch, best = self._module.position.epoch, self._module.best
        if best.epoch not in (-1, epoch):
            # The file of the best weights will hold others by then.
            state = self._state()
            state.best = checkpoint_file.from_bytes(self._store.read(best.path)).network
            last = checkpoint_file.to_bytes(state)
        path = f"{self._folder}/{name}.safetensors"
        self._store.write(path, last)
        self._say(path, kept=True)

    def _what(self) -> dict[str, Any]:
        """What the network is and how it is fed: all that a prediction needs beside the weights."""
        module = self._module
        tuning = module.tuning.as_facts() | {"device": module.data.device.type}
        return {"config": self._config.model_dump(), "inputs": module.data.inputs.as_facts(), "tuning": tuning}

    # Restoring --------------------------------------------------------------------------------------------------------

    def restore(self, state: State) -> None:
        """Go on where ``state`` was saved; in a fork with what it asks to be otherwise."""
        module = self._module
        module.network.load_state_dict(state.network)
        if self._as_before(state, "optimizer"):
            self._restore_optimizer(state)
        else:
            self._reporter.say(f"begins anew with {self._config.optimizer}: it cannot use what another one remembers")
        self._restore_course(state)
        module.go_on_from(Position(**state.facts["position"]))
        if self._as_before(state, "schedule") and state.facts["schedule"]:
            module.schedule.restore(state.facts["schedule"])
        best: dict[str, Any] = state.facts["best"]
        module.best = Best(**best | {"loss": float("inf") if best["loss"] is None else best["loss"]})
        if self._as_before(state, "seed"):
            checkpoint_file.restore_random_state(state.random, module.data.device, module.generator)
        self._adopt_best(state)
        self._reporter.say(f"goes on from step {module.position.step:,} in epoch {module.position.epoch + 1}")

    def _as_before(self, state: State, name: str) -> bool:
        before = state.facts.get("config", {})
        return bool(before.get(name, getattr(self._config, name)) == getattr(self._config, name))

    def _restore_course(self, state: State) -> None:
        """What was changed of this run holds; of the one that it goes on from only the factor, for the same rate."""
        found = state.facts.get("course")
        if found and not self._begun:
            self._module.course = Course(**found)
        elif found and self._as_before(state, "lr") and self._as_before(state, "schedule"):
            self._module.course.factor = found["factor"]

    def _restore_optimizer(self, state: State) -> None:
        optimizer = self._module.optimizer
        asked = [{name: group[name] for name in OF_THE_OPTIMIZER if name in group} for group in optimizer.param_groups]
        optimizer.load_state_dict(state.optimizer)
        for group, own in zip(optimizer.param_groups, asked, strict=True):
            group.update(own)
        self._lay_out_as_the_weights(optimizer)

    def _adopt_best(self, state: State) -> None:
        """Of a run that this one goes on from, have the best weights so far in a file of its own."""
        best = self._module.best
        if best.epoch < 0 or best.path.startswith(f"{self._run}/"):
            return
        weights = state.best
        if not weights:
            own = best.epoch == self._module.position.epoch and not self._module.position.done
            path = f"{self._run}/0/best.safetensors"
            weights = state.network if own else checkpoint_file.from_bytes(self._store.read(path)).network
        self._write_best(weights)

    def _lay_out_as_the_weights(self, optimizer: torch.optim.Optimizer) -> None:
        """A checkpoint keeps tensors in the plain order; a fused optimizer goes through memory in the weights' own."""
        for weight, slots in optimizer.state.items():
            for name, value in slots.items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    slots[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    def load_best(self) -> None:
        """Put the best weights into the network; where none were kept, those that it has are tested."""
        if self._module.best.path:
            state = checkpoint_file.from_bytes(self._store.read(self._module.best.path))
            self._module.network.load_state_dict(state.network)

    def _say(self, path: str, best: bool = False, kept: bool = False) -> None:
        at = self._module.position
        said = Checkpoint(path=path, epoch=at.epoch, step=at.step, within=at.done, best=best, kept=kept)
        self._reporter.event("checkpoint", said)
        self._said += 1


def is_kept(epoch: int, epochs: int, many: int) -> bool:
    """Whether the end of ``epoch`` (1 is the first) is one of ``many`` that are evenly spread, the last among them."""
    many = min(many, epochs)
    return many > 0 and epoch * many // epochs > (epoch - 1) * many // epochs
