"""How an exported network is used, in a few lines of Python each."""

from __future__ import annotations

from dataclasses import dataclass

from app.contract.datasets import DATASETS
from app.contract.model_jobs import ExportFormat
from app.contract.spec import RunConfig


@dataclass(frozen=True)
class Use:
    """A format: its ``title``, what it is ``for``, whether it can contain preprocessing, and three lines of Python."""

    format: ExportFormat
    title: str
    about: str
    takes_preprocessing: bool
    lines: str


def usage(config: RunConfig, number: int) -> list[Use]:
    """How to use the network of run ``number`` in each format."""
    head = config.targets[0]
    images = f"uint8 [N, {_shape(config)}]"
    scalars = ', "scalars": scalars' if config.auxiliary else ""
    second = ", scalars" if config.auxiliary else ""
    note = "; scalars: float32 [N, n], as measured" if config.auxiliary else ""
    onnx = (
        "import onnxruntime\n"
        f'session = onnxruntime.InferenceSession("run-{number}-model.onnx")\n'
        f'probabilities = session.run(["{head}"], {{"images": images{scalars}}})[0]  # images: {images}{note}'
    )
    program = (
        "import torch\n"
        f'network = torch.export.load("run-{number}-model.pt2").module()\n'
        f'probabilities = network(images{second})["{head}"]  # images: {images}{note}'
    )
    weights = (
        "from safetensors.torch import load_file\n"
        f'weights = load_file("run-{number}-weights.safetensors")\n'
        'network.load_state_dict(weights)  # "how_to_load" in the JSON file builds the network'
    )
    return [
        Use("onnx", "ONNX", "runs without torch: onnxruntime, browsers, phones", True, onnx),
        Use("torch_export", "torch.export", "a program for torch, without Runyard's code", True, program),
        Use(
            "safetensors", "Weights", "safetensors, and a JSON file: how to build and feed the network", False, weights
        ),
    ]


def _shape(config: RunConfig) -> str:
    info = DATASETS.get(config.dataset)
    if info is None:
        return "C, H, W"
    return f"{info.channels}, {info.side}, {info.side}"
