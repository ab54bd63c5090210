"""Exports a network as ONNX, checked by onnxruntime."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from worker.exporting.description import describe
from worker.exporting.sample import Arrays, Sample
from worker.exporting.servable import ExportError, capture, input_names
from worker.training.predictor import Predictor

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""The oldest one that torch's exporter writes without conversion; onnxruntime has had it since 1.14."""
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_packages() -> None:
    """Raise ExportError if a package for ONNX is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX needs packages that are not installed on this machine ({', '.join(missing)});"
            " install them with: pip install 'runyard[export]'"
        )


def export_onnx(predictor: Predictor, sample: Sample, preprocessing: bool) -> tuple[bytes, float]:
    """The ONNX file, and the largest difference of a probability from torch on the sample.

    Inputs: ``images`` [N, C, H, W], uint8 with preprocessing and normalized float32 without, and ``scalars`` float32
    [N, n] if the network takes them. Outputs: probabilities by head, float32 [N, classes]. Raises ExportError.
    """
    require_packages()
    program = capture(predictor, sample.images.shape[-1], preprocessing)
    with _quiet():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=input_names(predictor),
            output_names=list(predictor.config.targets),
            verbose=False,
        )
    if exported is None:
        raise ExportError("torch returned no ONNX model")
    model = exported.model_proto
    _strip(model)
    _name_batch(model)
    about = describe(predictor, sample.images.shape[-1], preprocessing)
    model.producer_name = "runyard"
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    content = model.SerializeToString()
    return content, sample.compare(predictor, preprocessing, _session(content, predictor), "ONNX model")


def _session(content: bytes, predictor: Predictor) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    heads = list(predictor.config.targets)

    def run(inputs: tuple[Tensor, ...]) -> Arrays:
        fed = {name: values.numpy() for name, values in zip(input_names(predictor), inputs, strict=True)}
        return dict(zip(heads, session.run(heads, fed), strict=True))

    return run


def _strip(model: ModelProto) -> None:
    """Remove the exporter's notes for debugging, which are larger than a small network and name local files."""
    graphs: list[Any] = [model.graph, *model.functions]
    for graph in graphs:
        for each in (graph, *graph.node, *graph.value_info):
            each.ClearField("metadata_props")
            each.ClearField("doc_string")
    for each in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


def _name_batch(model: ModelProto) -> None:
    """Name the number of images "batch", in place of torch's symbol for it."""
    symbol = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for each in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dimension in each.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = dimension.dim_param.replace(symbol, "batch")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch.onnx and onnxscript say about themselves away from a user, to whom it means nothing."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
