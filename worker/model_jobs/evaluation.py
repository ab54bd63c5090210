"""The job ``evaluate``: write the predictions that the trainer would have kept, for a run without them."""

from __future__ import annotations

from functools import partial

from app.contract.model_jobs import EvaluateResult, JobRequest
from app.contract.predictions import SCORED
from worker.model_jobs.subject import Progress, Subject
from worker.training.checkpoint_file import Store
from worker.training.prediction_files import PredictionFiles


def _advance(progress: Progress, before: float, share: float, of_part: float) -> None:
    progress(before + share * of_part)


def run(request: JobRequest, progress: Progress) -> EvaluateResult:
    """Predict all validation and test images. Raises what `Subject.of` raises."""
    subject = Subject.of(request)
    data, targets = subject.data, subject.config.targets
    images = {part: len(data.split(part)) for part in SCORED}
    done, parts = 0, {}
    for part in SCORED:
        before, share = done / sum(images.values()), images[part] / sum(images.values())
        scored = subject.score(part, partial(_advance, progress, before, share))
        parts[part] = scored.predictions()
        done += images[part]
    files = PredictionFiles(
        Store(request.artifacts), request.run, request.fence, data.dataset, targets, images["validation"]
    )
    at = request.checkpoint
    kept = files.put_final(files.header(at.path, at.epoch, at.step), parts, files.history())
    files.remove_others(kept)
    accuracy = {
        part: {head: float((found.predicted == found.labels).mean()) for head, found in heads.items()}
        for part, heads in parts.items()
    }
    return EvaluateResult(**kept.model_dump(), accuracy=accuracy)
