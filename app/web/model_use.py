"""How an exported network is used, in a few lines of Python each."""

from __future__ import annotations

from dataclasses import dataclass

from app.contract.dataset import Dataset
from app.contract.datasets import DATASETS
from app.contract.model_jobs import ExportFormat
from app.contract.spec import RunConfig


@dataclass(frozen=True)
class Use:
    """A format: its ``title``, what it is ``for``, whether it can contain preprocessing, and a few lines of Python."""

    format: ExportFormat
    title: str
    about: str
    takes_preprocessing: bool
    lines: str


def usage(config: RunConfig, number: int) -> list[Use]:
    """How to use the network of run ``number`` in each format: with one image file, where the dataset is known."""
    head = config.targets[0]
    info = DATASETS.get(config.dataset)
    images = f"images: uint8 [N, {_shape(info)}]"
    if config.auxiliary:
        images += "; scalars: float32 [N, n], as measured"
    scalars = ', "scalars": scalars' if config.auxiliary else ""
    second = ", scalars" if config.auxiliary else ""
    onnx = (
        "import onnxruntime\n"
        f'session = onnxruntime.InferenceSession("run-{number}-model.onnx")\n'
        f'(probabilities,) = session.run(["{head}"], {{"images": images{scalars}}})  # {images}\n'
        "print(probabilities.argmax(1), probabilities.max(1))"
    )
    program = (
        "import torch\n"
        f'network = torch.export.load("run-{number}-model.pt2").module()\n'
        f'probabilities = network(torch.tensor(images){second})["{head}"]  # {images}\n'
        "print(probabilities.argmax(1), probabilities.max(1).values)"
    )
    weights = (
        "from safetensors.torch import load_file\n"
        f'weights = load_file("run-{number}-weights.safetensors")\n'
        'network.load_state_dict(weights)  # "how_to_load" in the JSON file builds the network'
    )
    reading = _reading(info)
    return [
        Use("onnx", "ONNX", "runs without torch: onnxruntime, browsers, phones", True, reading + onnx),
        Use("torch_export", "torch.export", "a program for torch, without Runyard's code", True, reading + program),
        Use(
            "safetensors", "Weights", "safetensors, and a JSON file: how to build and feed the network", False, weights
        ),
    ]


def _shape(info: Dataset | None) -> str:
    return "C, H, W" if info is None else f"{info.channels}, {info.side}, {info.side}"


def _reading(info: Dataset | None) -> str:
    """Lines that read an image file as the network takes it."""
    if info is None:
        return ""
    mode = "L" if info.channels == 1 else "RGB"
    pixels = "np.asarray(image)[None, None]" if mode == "L" else "np.asarray(image).transpose(2, 0, 1)[None]"
    note = f"  # bright on black and centered, as in {info.title}" if info.auxiliary else ""
    return (
        "import numpy as np\n"
        "from PIL import Image\n"
        f'image = Image.open("image.png").convert("{mode}").resize(({info.side}, {info.side})){note}\n'
        f"images = {pixels}\n"
    )
