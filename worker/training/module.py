"""The LightningModule: heads and losses, many optimizer steps in one ``training_step``, evaluation on the device.

Lightning's loop costs 0.4 ms per step and ``self.log`` 0.43 ms per key. One ``training_step`` therefore makes ``BLOCK``
optimizer steps by manual optimization, and metrics go to the reporter, which reads them back from another thread.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from app.contract.events import Progress
from app.contract.metric_names import additional_metrics
from app.contract.spec import RunConfig
from worker.data.class_balance import is_uneven
from worker.data.datasets import Part
from worker.data.device_dataset import Augment, Resident, evaluation_batches, order
from worker.data.mixing import Mixing
from worker.reporting.reporter import Reporter
from worker.training.evaluation_logits import evaluation_logits
from worker.training.losses import Losses
from worker.training.nonfinite_guard import Diverged, LossWatch, StepLoss, describe_nonfinite
from worker.training.position import NEVER, Best, Course, Position
from worker.training.schedule import make_schedule
from worker.training.scored import Scored
from worker.training.throughput import Throughput
from worker.training.totals import Totals
from worker.training.tuning import Tuning, requested_tuning
from worker.training.weight_average import WeightAverage

BLOCK = 64
EVALUATION_IMAGES = {"cpu": 256, "cuda": 16384}
"""Images in one forward pass of an evaluation, memory permitting. On a CPU more is no faster: bench/evaluation.py"""
REPORT_SECONDS = 0.02


class Stopped(Exception):
    """Training was told to stop; everything up to the last complete step is in place."""


@dataclass(frozen=True)
class _Step:
    """The values of a step to report, on the device; ``parts``: the losses of several heads.

    ``rate``: its learning rate; ``norm``: of its gradient, if that is clipped.
    """

    step: int
    rate: float
    norm: Tensor | None
    loss: Tensor
    parts: dict[str, Tensor]
    logits: dict[str, Tensor]
    targets: dict[str, Tensor]


def _detached(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far, in 10⁶ bytes: of a GPU, as torch allocated it, otherwise of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class Blocks:
    """The remaining batches of an epoch, ``BLOCK`` at a time: int64 tensors [k, batch_size].

    It has no length, since Lightning would query it only once, and a resumed first epoch is shorter than the others. If
    only the validation of an epoch is left, it yields one empty block, since Lightning skips an epoch without any.
    """

    def __init__(self, module: Classifier) -> None:
        self._module = module

    def __iter__(self) -> Iterator[Tensor]:
        module = self._module
        config, data = module.config, module.data
        epoch, images = module.position.epoch, data.size("train")
        batches = order(config.seed, epoch, images, config.batch_size, data.device, balance=module.balance)
        rest = data.ahead("train", batches[module.position.done :])
        yield from torch.split(rest, BLOCK) if len(rest) else [rest]


class Slices:
    """The batches of a split, in order; not a list, which Lightning would take for several loaders."""

    def __init__(self, slices: list[slice]) -> None:
        self._slices = slices

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[slice]:
        return iter(self._slices)


class Classifier(pl.LightningModule):
    """Trains ``network`` on ``data`` as ``config`` says, and runs it as ``tuning`` says (None: the plain tuning).

    ``must_stop`` is checked before every step and evaluation.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Resident,
        config: RunConfig,
        reporter: Reporter,
        must_stop: Callable[[], bool],
        tuning: Tuning | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.data = data
        self.config = config
        self.reporter = reporter
        self.must_stop = must_stop
        self.steps_per_epoch = data.size("train") // config.batch_size
        self.steps = self.steps_per_epoch * config.epochs
        self.course = Course(config.epochs, config.epochs)
        self.position = Position()
        self.best = Best()
        self.tuning = tuning or requested_tuning(config)
        self.tuning.place(network)
        self.optimizer = self.tuning.make_optimizer(network, config)
        self.forward_in_training = self.tuning.forward(network)
        self.schedule = make_schedule(config, self.steps)
        self.augment = Augment.of(config)
        self.mixing = Mixing(config.mixup, config.cutmix, config.erasing)
        self.average = WeightAverage(network, config.ema_decay) if config.ema_decay else None
        self.generator = torch.Generator().manual_seed(config.seed)
        self.evaluation_images = data.at_most(EVALUATION_IMAGES.get(data.device.type, EVALUATION_IMAGES["cpu"]))
        self.norm: Tensor | None = None
        """The norm of the last step's gradient before clipping, if gradients are clipped."""
        self.after_step: Callable[[], None] = lambda: None
        self.after_validation: Callable[[bool], None] = lambda improved: None
        self.change_at: float = NEVER
        self.apply_changes: Callable[[bool], None] = lambda validated: None
        self.scored: Scored | None = None
        """The predictions of the newest evaluation, if they are kept."""
        self.losses = Losses(data, config)
        labels = {name: values.cpu() for name, values in data.targets("train", slice(None)).items()}
        self.balance = labels[config.targets[0]] if config.balanced_sampling else None
        """The labels by which classes are drawn equally often, if they are."""
        heads = {name: data.dataset.target(name) for name in config.targets}
        self._measured = {
            name: additional_metrics(data.dataset, target, is_uneven(labels[name], target.classes))
            for name, target in heads.items()
        }
        self._pending: list[_Step] = []
        self._watch: LossWatch | None = LossWatch()
        self._reported_at = 0.0
        self._throughput = Throughput(config.batch_size)

    def resume_from(self, position: Position) -> None:
        """Resume at a checkpoint's position; the schedule counts all steps, those with another batch size too."""
        self.position = position
        self.plan()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated, tested and saved as the best: the averaged one, if weights are averaged."""
        return self.network if self.average is None else self.average.network

    def plan(self) -> None:
        """Count the steps of the course and plan the learning rate over them; a plateau schedule keeps its state.

        A schedule that depends on the number of steps continues at the rate that a run with this many steps has here.
        """
        epoch_start = self.position.step - self.position.done
        course, epoch, state = self.course, self.position.epoch, self.schedule.state()
        self.steps = epoch_start + self.steps_per_epoch * (course.epochs - epoch)
        self.schedule = make_schedule(self.config, epoch_start + self.steps_per_epoch * (course.planned - epoch))
        if state:
            self.schedule.restore(state)

    # Lightning hooks
    # ----------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch  # the data is on the device already

    def train_dataloader(self) -> Any:
        return Blocks(self)

    def test_dataloader(self) -> Any:
        return Slices(self.data.evaluation("test", self.evaluation_images))

    def on_train_epoch_start(self) -> None:
        self._throughput.restart(self.position.step)

    def training_step(self, block: Tensor, _: int) -> None:
        for indices in block:
            if self.must_stop():
                self.report_steps()
                raise Stopped
            if self.position.step >= self.change_at:
                self.report_steps()
                self.apply_changes(False)
            self._micro_step(indices)
        self.report_steps()

    def on_train_epoch_end(self) -> None:
        self._throughput.measure(self.position.step)
        if self._watch is not None:
            self._handle_divergence(self._watch.settle())
        self._validate()
        self._end_epoch()

    def _validate(self) -> None:
        """Evaluate the validation set. Lightning's loop around this would take longer than this on a small dataset."""
        self._begin_evaluation()
        self.network.eval()
        with torch.inference_mode():
            for rows in self.data.evaluation("validation", self.evaluation_images):
                if self.must_stop():
                    raise Stopped
                self._evaluate("validation", rows)
        self.network.train()

    def predict_validation(self) -> Scored:
        """What the network as it is predicts for the validation images. Raises Stopped."""
        self._validate()
        assert self.scored is not None
        return self.scored

    def _end_epoch(self) -> None:
        figures = self._end_evaluation("val", self.data.size("validation"))
        accuracy, loss = self._first_accuracy(figures, "val"), figures["val/loss"]
        if self._watch is not None and not math.isfinite(loss):
            self._handle_divergence(
                f"validation loss became {describe_nonfinite(loss)} after epoch {self.position.epoch + 1}"
            )
        self.schedule.after_validation(loss)
        improved = self.best.beaten_by(accuracy, loss)
        if self.position.step >= self.change_at:
            self.apply_changes(True)
        self.position.epoch += 1
        self.position.done = 0
        if improved:
            self.best = Best(accuracy, loss, self.position.epoch, self.position.step, self.best.path)
        suffix = " (best so far)" if improved else ""
        self.reporter.log(f"epoch {self.position.epoch}: {self._format_figures(figures)}{suffix}")
        self.reporter.points(("system/peak_memory_mb",), self.position.step, (peak_memory_mb(self.data.device),))
        self.after_validation(improved)
        if self.position.step >= self.change_at:
            self.apply_changes(False)
        if self.stopped_early or self.position.epoch >= self.course.epochs:
            self.trainer.should_stop = True
        self.report_progress(now=True)

    def on_test_epoch_start(self) -> None:
        self._begin_evaluation()

    def test_step(self, rows: slice, _: int) -> None:
        if self.must_stop():
            raise Stopped
        self._evaluate("test", rows)

    def on_test_epoch_end(self) -> None:
        figures = self._end_evaluation("test", self.data.size("test"))
        weights = f"weights of epoch {self.best.epoch}" if self.best.path else "current weights"
        self.reporter.log(f"{self._format_figures(figures)} ({weights})")

    # One step
    # -----------------------------------------------------------------------------------------------------------

    def _micro_step(self, indices: Tensor) -> None:
        position = self.position
        rate = self.schedule.rate(position.step) * self.course.factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, targets = self.data.batch("train", indices, augment=self.augment, generator=self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        mixed = self.mixing(images, self.generator)
        scalars = self.data.scalars("train", indices)
        forward = self.forward_in_training
        with self.tuning.autocast(self.data.device):
            logits = self._by_head(
                forward(mixed.images) if scalars is None else forward(mixed.images, mixed.blend(scalars))
            )
            losses = self.losses.training(logits, targets, mixed)
            loss = self.losses.total(losses)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = None
        if self.config.clip_norm:
            norm = self.norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(position.step)
        position.step += 1
        position.done += 1
        parts = {name: head_loss.detach() for name, head_loss in losses.items()} if len(losses) > 1 else {}
        self._pending.append(_Step(position.step, rate, norm, loss.detach(), parts, _detached(logits), targets))
        if time.monotonic() - self._reported_at > REPORT_SECONDS:
            self.report_steps()
            self.report_progress()
        self.after_step()

    def _by_head(self, output: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
        return output if isinstance(output, dict) else {self.config.targets[0]: output}

    def report_steps(self) -> None:
        """Pass the values of pending steps to the reporter, still on the device."""
        self._reported_at = time.monotonic()
        if not self._pending:
            return
        heads = list(self._pending[0].logits)
        hits = [
            (
                torch.stack([row.logits[head] for row in self._pending]).argmax(-1)
                == torch.stack([row.targets[head] for row in self._pending])
            )
            .float()
            .mean(1)
            for head in heads
        ]
        parts = list(self._pending[0].parts)
        names = (
            "train/loss",
            *(self._metric_name("train", head, "acc") for head in heads),
            *(self._metric_name("train", head, "loss") for head in parts),
        )
        for i, row in enumerate(self._pending):
            self.reporter.points(
                names, row.step, (row.loss, *(head_hits[i] for head_hits in hits), *(row.parts[p] for p in parts))
            )
        self.reporter.points(("train/lr",), self._pending[-1].step, (self.optimizer.param_groups[0]["lr"],))
        losses = [StepLoss(row.step, row.loss, row.rate, row.norm) for row in self._pending]
        self._pending.clear()
        if self._watch is not None:
            self._handle_divergence(self._watch.check(losses))

    def _handle_divergence(self, sentence: str | None) -> None:
        """Stop at a loss that is not finite, or log it once and continue, as the run requests."""
        if sentence is None:
            return
        if self.config.on_nonfinite == "go_on":
            self._watch = None
            self.reporter.log(f"{sentence}; continuing because on_nonfinite is go_on", "warning")
            return
        remedies = ["a lower learning rate"]
        remedies += [] if self.config.warmup else ["warmup"]
        remedies += [] if self.config.clip_norm else ["gradient clipping (clip_norm)"]
        advice = f"{', '.join(remedies[:-1])} or {remedies[-1]}" if remedies[1:] else remedies[0]
        raise Diverged(f"{sentence}; try {advice}")

    def _metric_name(self, part: str, head: str, figure: str) -> str:
        return f"{part}/{figure}" if len(self.config.targets) == 1 else f"{part}/{head}/{figure}"

    def _format_figures(self, figures: dict[str, float]) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())

    def report_progress(self, now: bool = False) -> None:
        """Report progress, if it is due or ``now``."""
        if not self._throughput.due() and not now:
            return
        speed = self._throughput.measure(self.position.step)
        left = self.steps - self.position.step
        self.reporter.event(
            "progress",
            Progress(
                epoch=min(self.position.epoch + (self.position.done > 0), self.course.epochs),
                epochs=self.course.epochs,
                step=self.position.step,
                steps=self.steps,
                samples_per_second=speed,
                eta_seconds=self._throughput.seconds_left(left),
            ),
        )

    # Evaluation -------------------------------------------------------------------------------------------------------

    def _begin_evaluation(self) -> None:
        self._totals = Totals(self._measured, self.data.device)
        self.scored = Scored() if self.config.keep_predictions else None

    def _evaluate(self, part: Part, rows: slice) -> None:
        """Add the scores of the images ``rows``; in halves, from now on, if they do not fit into the GPU's memory."""
        size = self.evaluation_images
        if rows.stop - rows.start > size:
            for batch in evaluation_batches(rows.stop - rows.start, size):
                self._evaluate(part, slice(rows.start + batch.start, rows.start + batch.stop))
            return
        try:
            self._score(part, rows)
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            # The failed pass's memory lives as long as its traceback: evaluate the halves after this block.
            self.evaluation_images = max(1, (rows.stop - rows.start) // 2)
            torch.cuda.empty_cache()
        else:
            return
        self._evaluate(part, rows)

    def _score(self, part: Part, rows: slice) -> None:
        images, targets = self.data.batch(part, rows)
        scalars = self.data.scalars(part, rows)
        with self.tuning.autocast(self.data.device):
            logits = evaluation_logits(self.evaluated, self.config, images, scalars)
            losses = self.losses.means(logits, targets)
        # Add only after everything is computed, so that a pass that failed half way can be repeated.
        self._totals.add(logits, losses, targets)
        if self.scored is not None:
            self.scored.add(logits, targets)

    def _end_evaluation(self, part: str, images: int) -> dict[str, float]:
        losses, measured = self._totals.means(images)
        figures = {f"{part}/loss": self.losses.total_value(losses)}
        figures |= {
            self._metric_name(part, name, figure): value
            for name, values in measured.items()
            for figure, value in values.items()
        }
        if len(losses) > 1:
            figures |= {self._metric_name(part, name, "loss"): loss for name, loss in losses.items()}
        self.reporter.points(tuple(figures), self.position.step, tuple(figures.values()))
        return figures

    def _first_accuracy(self, figures: dict[str, float], part: str) -> float:
        """The accuracy of the first head, which defines "best"."""
        return figures[self._metric_name(part, self.config.targets[0], "acc")]

    @property
    def stopped_early(self) -> bool:
        """Whether early stopping ends this run: ``early_stopping`` epochs without improvement on the validation set."""
        patience = self.config.early_stopping
        return patience > 0 and self.position.epoch - max(0, self.best.epoch) >= patience
