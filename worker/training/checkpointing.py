"""Saves and restores the checkpoints of one attempt at a run."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self

import torch

from app.contract.disk_space import pause_limit
from app.contract.events import Checkpoint
from app.contract.spec import RunConfig
from worker.job import Job
from worker.reporting.disk_wait import DiskWait
from worker.reporting.reporter import Reporter
from worker.training import checkpoint_file
from worker.training.checkpoint_file import Snapshot, State, Store, snapshot
from worker.training.checkpoint_writer import CheckpointWriter
from worker.training.module import Classifier, Stopped
from worker.training.nonfinite_guard import all_finite
from worker.training.position import Best, Course, Position

MAX_KEPT_BYTES = 2 * 10**9
"""The most bytes that checkpoints kept for forking may take per run; large checkpoints are kept less often."""

FORK_OVERRIDES = ("weight_decay", "momentum")
"""Optimizer settings that a fork may change in the optimizer state it resumes with; lr is set in every step."""


class Checkpointer:
    """Saves ``last`` to resume from, ``best`` to test and use, and some epoch ends to fork from.

    Each ``last`` has its own name, and stays until a later one is known to the recorder: a killed trainer resumes from
    what the recorder knows and repeats the steps reported since then. The checkpoint a fork starts from is under
    ``<run>/0/``, where the server put it.
    """

    def __init__(
        self, job: Job, store: Store, module: Classifier, reporter: Reporter, disk: DiskWait | None = None
    ) -> None:
        self._run = job.run
        self._folder = f"{job.run}/{job.fence}"
        self._is_fork = job.resume is not None and job.resume.path.startswith(f"{job.run}/0/")
        self._config: RunConfig = module.config
        self._store = store
        self._module = module
        self._reporter = reporter
        self._every = job.settings.checkpoint_seconds
        self._saved_at = time.monotonic()
        self._warned = False
        self._keeps_all = True
        if disk is not None:
            # What is left is for reports, so that they go on for a while.
            store.reserve = lambda total: pause_limit(job.settings, total)
        self._writer = CheckpointWriter(disk, self._tell_full, self._use_reserve, self._tell_given_up)
        self.waiting_history: Callable[[], dict[str, torch.Tensor]] = dict
        """What else belongs into a checkpoint to resume from: predictions that are in no file yet."""
        # Used only by the writer's jobs.
        self._reported = 0
        self._lasts: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """Wait until everything is written."""
        self._writer.__exit__(*error)

    def _tell_full(self, full: bool) -> None:
        host = socket.gethostname()
        if full:
            self._reporter.log(f"the disk of {host} is full; holding back checkpoints until there is room", "warning")
        else:
            self._reporter.log(f"there is room on the disk of {host}; writing the checkpoints that were held back")

    def _use_reserve(self) -> None:
        self._store.reserve = lambda total: 0

    def _tell_given_up(self) -> None:
        host = socket.gethostname()
        self._reporter.log(f"could not write a checkpoint: the disk of {host} is full; the one before stays", "warning")

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job in the thread that writes, unless an earlier one has failed: then nothing more is written."""
        if not self._writer.failed:
            self._writer.submit(job)

    def save_if_due(self) -> None:
        """Save after a step if the last save was ``checkpoint_seconds`` ago or more.

        Not after an epoch's last step: the validation that follows saves a checkpoint anyway.
        """
        module = self._module
        if time.monotonic() - self._saved_at > self._every and module.position.done < module.steps_per_epoch:
            module.report_steps()  # a run that resumes here must not miss them
            self.save()

    def after_validation(self, improved: bool) -> None:
        """Save everything to resume from, and the weights if they are the best so far."""
        if not self._has_finite_weights():
            return
        if improved:
            self._write_best(self._module.evaluated.state_dict())
        self._keep(self._write_last())

    def keep_current(self) -> bool:
        """Save, and keep a permanent copy to fork from; False if the weights are not finite."""
        if not self._has_finite_weights():
            return False
        self._module.report_steps()
        self._write_kept(self._write_last(), f"step-{self._module.position.step}")
        self._writer.wait()
        return True

    def save(self) -> None:
        """Save everything to resume from; weights that are not finite never replace finite ones."""
        if self._has_finite_weights():
            self._write_last()

    def _has_finite_weights(self) -> bool:
        self._saved_at = time.monotonic()
        module = self._module
        if all_finite(module.network) and (module.average is None or all_finite(module.evaluated)):
            return True
        if not self._warned:
            self._reporter.log("some weights are NaN or infinite; keeping the previous checkpoint", "warning")
        self._warned = True
        return False

    def _write_best(self, weights: dict[str, torch.Tensor]) -> None:
        best = self._module.best
        best.path = f"{self._folder}/best.safetensors"
        state = snapshot(State(weights, {}, {}, self._description()))
        self._write(state, self._event(best.path, best=True))

    def _write_last(self) -> Snapshot:
        state = snapshot(self._state())
        event = self._event(f"{self._folder}/last-{self._module.position.step}.safetensors")
        self._writer.submit(lambda: self._put_last(state, event), replaced_by="last")
        return state

    def _put_last(self, state: Snapshot, event: Checkpoint) -> None:
        self._put(state, event)
        if not self._lasts or self._lasts[-1][1] != event.path:
            self._lasts.append((self._reported, event.path))
        self._remove_older()

    def _write(self, state: Snapshot, event: Checkpoint) -> None:
        self._writer.submit(lambda: self._put(state, event))

    def _put(self, state: Snapshot, event: Checkpoint) -> None:
        content = state.to_bytes()
        self._store.write(event.path, content)
        self._reporter.event("checkpoint", event.model_copy(update={"bytes": len(content)}))
        self._reported += 1

    def _remove_older(self) -> None:
        """Remove checkpoints that nothing can resume from any more: those before the newest committed one."""
        committed = self._reporter.committed_checkpoints()
        while len(self._lasts) > 1 and self._lasts[1][0] <= committed:
            self._store.remove(self._lasts.pop(0)[1])

    def _state(self) -> State:
        module = self._module
        best = asdict(module.best) | {"loss": None if module.best.epoch < 0 else module.best.loss}
        metadata = self._description() | {
            "position": asdict(module.position),
            "best": best,
            "schedule": module.schedule.state(),
            "course": asdict(module.course),
        }
        random = checkpoint_file.random_state(module.data.device, module.generator)
        average = module.average.state_dict() if module.average is not None else {}
        return State(
            module.network.state_dict(),
            module.optimizer.state_dict(),
            random,
            metadata,
            average=average,
            history=self.waiting_history(),
        )

    # Checkpoints to fork from
    # -------------------------------------------------------------------------------------------

    def _keep(self, last: Snapshot) -> None:
        """Keep the end of this epoch to fork from, if it is one of those evenly spread over the run."""
        module, requested = self._module, self._config.keep_checkpoints
        count = min(requested, MAX_KEPT_BYTES // last.size())
        if count < requested and self._keeps_all:
            self._keeps_all = False
            self._reporter.log(
                f"keeping {count} epoch checkpoints to fork from, not {requested}: each takes {last.size() / 1e6:,.0f}"
                " MB"
            )
        epoch = module.position.epoch
        if is_fork_point(epoch, module.course.epochs, count):
            self._write_kept(last, f"epoch-{epoch}")

    def _write_kept(self, last: Snapshot, name: str) -> None:
        epoch, best = self._module.position.epoch, self._module.best
        event = self._event(f"{self._folder}/{name}.safetensors", kept=True)
        if best.epoch in (-1, epoch):
            self._write(last, event)
            return
        # By the time of a fork, the file of the best weights will hold later ones.
        path = best.path
        self._writer.submit(lambda: self._put(last.with_best(self._read(path).network), event))

    def _description(self) -> dict[str, Any]:
        """The network's configuration and inputs: everything a prediction needs besides the weights."""
        module = self._module
        tuning = module.tuning.to_dict() | {"device": module.data.device.type}
        return {"config": self._config.model_dump(), "inputs": module.data.inputs.to_dict(), "tuning": tuning}

    # Restoring --------------------------------------------------------------------------------------------------------

    def restore(self, state: State) -> None:
        """Resume where ``state`` was saved; a fork applies its own settings."""
        module = self._module
        module.network.load_state_dict(state.network)
        if module.average is not None:
            # A fork may average weights that were not averaged before.
            module.average.network.load_state_dict(state.average or state.network)
        if self._is_unchanged(state, "optimizer"):
            self._restore_optimizer(state)
        else:
            self._reporter.log(
                f"starting {self._config.optimizer} with fresh state, because the checkpoint has another optimizer's"
                " state"
            )
        self._restore_course(state)
        module.resume_from(Position(**state.metadata["position"]))
        if self._is_unchanged(state, "schedule") and state.metadata["schedule"]:
            module.schedule.restore(state.metadata["schedule"])
        best: dict[str, Any] = state.metadata["best"]
        module.best = Best(**best | {"loss": float("inf") if best["loss"] is None else best["loss"]})
        if self._is_unchanged(state, "seed"):
            checkpoint_file.restore_random_state(state.random, module.data.device, module.generator)
        self._adopt_best(state)
        self._reporter.log(f"resuming from step {module.position.step:,} in epoch {module.position.epoch + 1}")

    def _is_unchanged(self, state: State, name: str) -> bool:
        before = state.metadata.get("config", {})
        return bool(before.get(name, getattr(self._config, name)) == getattr(self._config, name))

    def _restore_course(self, state: State) -> None:
        """Restore the changes made to this run while it trained.

        A fork takes only the factor of the learning rate, and only if it keeps lr and schedule: its rate must not jump.
        """
        saved = state.metadata.get("course")
        if saved and not self._is_fork:
            self._module.course = Course(**saved)
        elif saved and self._is_unchanged(state, "lr") and self._is_unchanged(state, "schedule"):
            self._module.course.factor = saved["factor"]

    def _restore_optimizer(self, state: State) -> None:
        optimizer = self._module.optimizer
        settings = [{name: group[name] for name in FORK_OVERRIDES if name in group} for group in optimizer.param_groups]
        optimizer.load_state_dict(state.optimizer)
        for group, own in zip(optimizer.param_groups, settings, strict=True):
            group.update(own)
        self._match_memory_format(optimizer)

    def _adopt_best(self, state: State) -> None:
        """In a fork, copy the original run's best weights so far to this run's own file."""
        best = self._module.best
        if best.epoch < 0 or best.path.startswith(f"{self._run}/"):
            return
        weights = state.best
        if not weights:
            own = best.epoch == self._module.position.epoch and not self._module.position.done
            path = f"{self._run}/0/best.safetensors"
            weights = (
                state.average or state.network if own else checkpoint_file.from_bytes(self._store.read(path)).network
            )
        self._write_best(weights)

    def _match_memory_format(self, optimizer: torch.optim.Optimizer) -> None:
        """Lay out optimizer tensors like their weights.

        A checkpoint stores tensors in plain order, but a fused optimizer walks through memory in the weights' order.
        """
        for weight, slots in optimizer.state.items():
            for name, value in slots.items():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    slots[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    def load_best(self) -> None:
        """Load the best weights into the network that is tested; if none were saved, its current weights are tested.

        Raises Stopped, if told to stop while they wait for room on the disk.
        """
        self._writer.wait()
        if self._writer.hurried:
            raise Stopped
        if self._module.best.path:
            self._module.evaluated.load_state_dict(self._read(self._module.best.path).network)

    def _read(self, path: str) -> State:
        return checkpoint_file.from_bytes(self._store.read(path))

    def _event(self, path: str, best: bool = False, kept: bool = False) -> Checkpoint:
        at = self._module.position
        return Checkpoint(path=path, epoch=at.epoch, step=at.step, within=at.done, best=best, kept=kept)


def is_fork_point(epoch: int, epochs: int, count: int) -> bool:
    """Whether the end of ``epoch`` (1 is the first) is one of ``count`` evenly spread ones, the last among them."""
    count = min(count, epochs)
    return count > 0 and epoch * count // epochs > (epoch - 1) * count // epochs
