"""Exports a network as a torch.export program, reloaded and checked."""

from __future__ import annotations

import io
import json
import warnings

import torch
from torch import Tensor

from worker.exporting.description import describe
from worker.exporting.sample import Arrays, Sample
from worker.exporting.servable import capture
from worker.training.predictor import Predictor

DESCRIPTION = "runyard.json"
"""The description's name among the program's extra files."""


def export_program(predictor: Predictor, sample: Sample, preprocessing: bool) -> tuple[bytes, float]:
    """The .pt2 file, and the largest difference of a probability between the reloaded program and the network.

    The program takes what the ONNX model takes, and returns a dict of probabilities by head. Raises ExportError.
    """
    side = sample.images.shape[-1]
    program = capture(predictor, side, preprocessing)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        about = json.dumps(describe(predictor, side, preprocessing))
        torch.export.save(program, file, extra_files={DESCRIPTION: about})
        reloaded = torch.export.load(io.BytesIO(file.getvalue())).module()

    @torch.inference_mode()
    def run(inputs: tuple[Tensor, ...]) -> Arrays:
        return {name: values.numpy() for name, values in reloaded(*inputs).items()}

    return file.getvalue(), sample.compare(predictor, preprocessing, run, "torch.export program")
