"""The job export writes a checked file for the checkpoint, and says why where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app.contract.events import Checkpoint
from app.contract.model_jobs import JobRequest
from tests.worker.conftest import Fitted, fit_run, make_config
from worker.data.datasets import load
from worker.exporting.sample import LARGEST_DIFFERENCE
from worker.model_jobs.export import run
from worker.model_jobs.failure import JobFailed


def request_of(fitted: Fitted, data_dir: Path, **options: Any) -> JobRequest:
    best: Checkpoint = [each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]
    return JobRequest(
        job="j_1",
        kind="export",
        run="r_1",
        fence=1,
        checkpoint=best,
        options=options,
        artifacts=str(fitted.artifacts),
        datasets=data_dir / "datasets",
    )


def test_an_exported_model_and_its_result_describe_the_checkpoint(data_dir: Path, datasets: Path) -> None:
    fitted = fit_run(make_config(epochs=1), data_dir)
    shares: list[float] = []
    result = run(request_of(fitted, data_dir, format="onnx"), shares.append)
    (file,) = result.files
    content = (fitted.artifacts / "r_1" / "exports" / "model.onnx").read_bytes()
    assert (file.name, file.bytes) == ("model.onnx", len(content))
    assert result.difference is not None
    assert result.difference <= LARGEST_DIFFERENCE
    assert result.pictures == 256
    assert shares == sorted(shares)
    test = load("digits", ["digit"], datasets, lambda text: None).test
    (found,) = onnxruntime.InferenceSession(content).run(["digit"], {"images": test.images.numpy()})
    right = np.asarray(found.argmax(1) == test.targets["digit"].numpy()).mean()
    assert right == pytest.approx(fitted.reporter.curves["test/acc"][-1][1], abs=0.5 / len(test))


def test_weights_come_with_their_description(data_dir: Path) -> None:
    fitted = fit_run(make_config(epochs=1), data_dir)
    result = run(request_of(fitted, data_dir, format="safetensors"), lambda share: None)
    assert [file.name for file in result.files] == ["weights.safetensors", "weights.json"]
    assert result.difference is None
    about = json.loads((fitted.artifacts / "r_1" / "exports" / "weights.json").read_text())
    assert (about["family"], about["size"], about["side"]) == ("simple_mlp", "tiny", 28)


def test_a_checkpoint_that_is_gone_is_a_sentence(data_dir: Path) -> None:
    fitted = fit_run(make_config(epochs=1), data_dir)
    request = request_of(fitted, data_dir, format="torch_export")
    gone = request.model_copy(update={"artifacts": str(data_dir / "elsewhere")})
    with pytest.raises(JobFailed, match="is no longer in the artifact store; retry the run"):
        run(gone, lambda share: None)
