"""The job ``export``: write a run's network as ONNX, as a torch.export program or as safetensors."""

from __future__ import annotations

from typing import Final

from app.contract.datasets import DATASETS, UnknownDataset
from app.contract.model_jobs import EXPORTS, ExportedFile, ExportOptions, ExportResult, JobRequest
from worker.data.datasets import load
from worker.exporting.onnx_model import export_onnx, require_packages
from worker.exporting.program import export_program
from worker.exporting.sample import PICTURES, Sample
from worker.exporting.servable import ExportError
from worker.exporting.weights import export_weights
from worker.model_jobs.failure import JobFailed
from worker.model_jobs.subject import Progress, read_state
from worker.training.checkpoint_file import Store
from worker.training.predictor import Predictor

SUFFIXES: Final = {"onnx": "onnx", "torch_export": "pt2"}


def run(request: JobRequest, progress: Progress) -> ExportResult:
    """Export, check and write. Raises JobFailed, DatasetError, UnknownArchitecture."""
    options = ExportOptions.model_validate(request.options)
    DATASETS.open(request.datasets)
    try:
        if options.format == "onnx":
            require_packages()
        state = read_state(request)
        predictor = Predictor.of(state, request.models_path)
        progress(0.1)
        if options.format == "safetensors":
            weights, about = export_weights(state, predictor)
            files, difference, pictures = {"weights.safetensors": weights, "weights.json": about}, None, 0
        else:
            sample = _sample(request, predictor)
            progress(0.2)
            export = export_onnx if options.format == "onnx" else export_program
            content, difference = export(predictor, sample, options.preprocessing)
            name = "model" if options.preprocessing else "model-normalized"
            files, pictures = {f"{name}.{SUFFIXES[options.format]}": content}, len(sample.images)
    except (ExportError, UnknownDataset) as error:
        raise JobFailed(str(error)) from error
    progress(0.95)
    store = Store(request.artifacts)
    for name, content in files.items():
        store.write(f"{request.run}/{EXPORTS}/{name}", content)
    return ExportResult(
        format=options.format,
        preprocessing=options.preprocessing and options.format != "safetensors",
        files=[ExportedFile(name=name, bytes=len(content)) for name, content in files.items()],
        difference=difference,
        pictures=pictures,
        epoch=request.checkpoint.epoch,
        step=request.checkpoint.step,
    )


def _sample(request: JobRequest, predictor: Predictor) -> Sample:
    config = predictor.config
    data = load(config.dataset, config.targets, request.datasets, _quiet, auxiliary=config.auxiliary)
    scalars = None if data.test.auxiliary is None else data.test.auxiliary[:PICTURES].clone()
    return Sample(data.test.images[:PICTURES].clone(), scalars)


def _quiet(sentence: str) -> None:
    """Take no notice: the run's log had said the same."""
