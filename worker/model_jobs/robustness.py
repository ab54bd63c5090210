"""The job ``robustness``: the accuracy on the test images, spoiled in fifteen ways and five strengths each."""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor

from app.contract.model_jobs import JobRequest, RobustnessOptions, RobustnessResult
from worker.data.device_dataset import evaluation_batches
from worker.model_jobs.corruptions import STRENGTHS, Corruption, corruptions
from worker.model_jobs.subject import Progress, Subject
from worker.training.module import EVALUATION_IMAGES


def run(request: JobRequest, progress: Progress) -> RobustnessResult:
    """Test the best checkpoint. Raises what `Subject.of` raises."""
    options = RobustnessOptions.model_validate(request.options)
    subject = Subject.of(request)
    kinds = corruptions(subject.data.dataset.channels)
    passes = 1 + len(kinds) * STRENGTHS
    done = 0

    def one(kind: Corruption | None, strength: int) -> dict[str, float]:
        nonlocal done
        before = done / passes
        found = _accuracies(subject, kind, strength, options.seed, lambda share: progress(before + share / passes))
        done += 1
        return found

    clean = one(None, 0)
    rows = {kind.name: [one(kind, strength) for strength in range(1, STRENGTHS + 1)] for kind in kinds}
    accuracy = {head: {name: [found[head] for found in row] for name, row in rows.items()} for head in clean}
    return RobustnessResult(
        dataset=subject.data.dataset.key,
        images=len(subject.data.test),
        seed=options.seed,
        epoch=request.checkpoint.epoch,
        step=request.checkpoint.step,
        strengths=STRENGTHS,
        clean=clean,
        mean={head: fmean(value for row in by_name.values() for value in row) for head, by_name in accuracy.items()},
        accuracy=accuracy,
        parameters={kind.name: kind.parameters() for kind in kinds},
    )


def _accuracies(
    subject: Subject, kind: Corruption | None, strength: int, seed: int, progress: Progress
) -> dict[str, float]:
    """The share of right answers of each head, with the test images as they are or spoiled."""
    test, device = subject.data.test, subject.device
    hits: dict[str, Tensor] = {}
    size = subject.held.at_most(EVALUATION_IMAGES[device.type])
    for rows in evaluation_batches(len(test), size):
        images = test.images[rows].to(device)
        if kind is not None:
            with torch.inference_mode():
                images = kind(images, strength, torch.arange(rows.start, rows.stop, device=device), seed)
        targets = subject.held.targets("test", rows)
        for head, logits in subject.logits("test", rows, images).items():
            # Added on the device, which a number on the CPU would wait for.
            hits[head] = (
                hits.get(head, torch.zeros((), dtype=torch.int64, device=device))
                + (logits.argmax(1) == targets[head]).sum()
            )
        progress(rows.stop / len(test))
    return {head: hit.item() / len(test) for head, hit in hits.items()}
