"""An exported ONNX model predicts what the checkpoint predicts, in onnxruntime."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import models
from bench.exports import settle
from tests.worker.conftest import fit_run, make_config
from tests.worker.exporting.networks import predictor_of, sample_of
from worker.data.datasets import load
from worker.exporting import onnx_model
from worker.exporting.onnx_model import export_onnx
from worker.exporting.sample import LARGEST_DIFFERENCE, Sample
from worker.exporting.servable import ExportError, capture
from worker.training.checkpoint_file import from_bytes
from worker.training.predictor import Predictor

SMALLEST = [(family.name, family.sizes[0].name) for family in models.families().values()]


@pytest.mark.parametrize(("family", "size"), SMALLEST)
def test_every_family_predicts_in_onnxruntime_what_it_does_in_torch(family: str, size: str) -> None:
    predictor = predictor_of(family, size)
    settle(predictor, sample_of())
    probabilities = next(iter(predictor.probabilities(sample_of().images).values()))
    assert probabilities.std(0).max() > 1e-3, "whatever the image, the network says the same: nothing is compared"
    content, difference = export_onnx(predictor, sample_of(), preprocessing=True)
    assert 0 < difference <= LARGEST_DIFFERENCE
    session = onnxruntime.InferenceSession(content)
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", 1, 28, 28])


def test_a_trained_run_with_heads_scalars_mirrored_and_averaged_weights_leaves_whole(
    data_dir: Path, datasets: Path
) -> None:
    changes: dict[str, Any] = {"targets": ["digit", "thickness"], "auxiliary": True, "mirror": True, "ema_decay": 0.9}
    fitted = fit_run(make_config("simple_cnn", epochs=1, **changes), data_dir)
    state = from_bytes(fitted.kept([each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]))
    predictor = Predictor.of(state)
    test = load("digits", ["digit"], datasets, lambda text: None, auxiliary=True).test
    for preprocessing in (True, False):
        sample = Sample(test.images[:256], test.auxiliary[:256] if test.auxiliary is not None else None)
        content, difference = export_onnx(predictor, sample, preprocessing)
        session = onnxruntime.InferenceSession(content)
        assert [each.name for each in session.get_inputs()] == ["images", "scalars"]
        assert [each.name for each in session.get_outputs()] == ["digit", "thickness"]
        fed = sample.fed(predictor, preprocessing)
        found = session.run(["thickness"], {"images": fed[0].numpy(), "scalars": fed[1].numpy()})[0]
        expected = predictor.probabilities(sample.images, sample.scalars)["thickness"].numpy()
        np.testing.assert_allclose(found, expected, atol=LARGEST_DIFFERENCE)
        assert np.abs(found - expected).max() <= difference
        about = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
        assert json.loads(about["heads"])["digit"] == list("0123456789")
        assert json.loads(about["mean"]) == list(predictor.inputs.mean)
        assert json.loads(about["preprocessing"]) is preprocessing


def test_the_file_names_no_path_of_this_machine() -> None:
    content, _ = export_onnx(predictor_of("simple_mlp", "tiny"), sample_of(), preprocessing=True)
    assert str(Path(models.__file__).parent).encode() not in content


def test_a_difference_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictor_of("simple_mlp", "tiny")
    shifted = replace(predictor, inputs=replace(predictor.inputs, mean=(0.9,)))
    # The program of other inputs than those of the predictor that it is compared with.
    monkeypatch.setattr(onnx_model, "capture", lambda *given: capture(shifted, *given[1:]))
    with pytest.raises(ExportError, match=r"differs from torch by up to .* at most 0.0001 is allowed"):
        export_onnx(predictor, sample_of(), preprocessing=True)


def test_a_network_without_any_finite_probability_is_refused() -> None:
    predictor = predictor_of("simple_mlp", "tiny")
    with torch.no_grad():
        next(iter(predictor.network.parameters())).fill_(float("nan"))
    with pytest.raises(ExportError, match="differs from torch by up to nan"):
        export_onnx(predictor, sample_of(), preprocessing=True)


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ExportError, match=r"\(onnxscript\); install them with: pip install 'runyard\[export\]'"):
        export_onnx(predictor_of("simple_mlp", "tiny"), sample_of(), preprocessing=True)
