"""The network as others run it: probabilities by head, with what a checkpoint's predictions do before and after it."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from worker.training.predictor import Predictor

IMAGES, SCALARS = "images", "scalars"
"""Names of the inputs of an exported network."""

# Neither 0, 1 nor 2, sizes that torch.export could take for constants.
_EXAMPLE_BATCH = 3


class ExportError(ValueError):
    """A network that could not be exported. The message is one sentence for the user."""


class Servable(nn.Module):
    """A network with softmax, mirrored views if its run evaluates with them, and, as an option, its preprocessing.

    With ``preprocessing``, images are raw pixels, uint8 [N, C, H, W], and scalars are as measured, float32 [N, n].
    Without, both are float32 and already normalized.
    """

    mean: Tensor
    std: Tensor
    scalars_mean: Tensor
    scalars_std: Tensor

    def __init__(self, predictor: Predictor, preprocessing: bool) -> None:
        super().__init__()
        inputs = predictor.inputs
        self.network = predictor.network
        self.heads = tuple(predictor.config.targets)
        self.mirror = predictor.config.mirror
        self.preprocessing = preprocessing
        # Not persistent: they are constants of the program, and no weights.
        for name, values in (("mean", inputs.mean), ("std", inputs.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        for name, values in (("scalars_mean", inputs.scalars_mean), ("scalars_std", inputs.scalars_std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64), persistent=False)

    def forward(self, images: Tensor, scalars: Tensor | None = None) -> dict[str, Tensor]:
        """Probabilities by head, float32 [N, classes]."""
        if self.preprocessing:
            images = (images.float() / 255 - self.mean) / self.std
            if scalars is not None:
                scalars = ((scalars.double() - self.scalars_mean) / self.scalars_std).float()
        if self.mirror:
            images = torch.cat((images, images.flip(3)))
            scalars = None if scalars is None else torch.cat((scalars, scalars))
        output = self.network(images) if scalars is None else self.network(images, scalars)
        logits = output if isinstance(output, dict) else {self.heads[0]: output}
        if self.mirror:
            logits = {name: values.reshape(2, -1, values.shape[1]).mean(0) for name, values in logits.items()}
        return {name: logits[name].softmax(1) for name in self.heads}


def input_names(predictor: Predictor) -> list[str]:
    """The names of the inputs, in order."""
    return [IMAGES, SCALARS] if predictor.inputs.scalars else [IMAGES]


def capture(predictor: Predictor, side: int, preprocessing: bool) -> ExportedProgram:
    """Capture a network for images [N, C, side, side] of any number N. Raises ExportError."""
    channels, scalars = len(predictor.inputs.mean), len(predictor.inputs.scalars)
    images = torch.zeros(_EXAMPLE_BATCH, channels, side, side)
    example: tuple[Tensor, ...] = (images.to(torch.uint8) if preprocessing else images,)
    if scalars:
        example = (*example, torch.zeros(_EXAMPLE_BATCH, scalars))
    servable = Servable(predictor, preprocessing).eval().requires_grad_(False)
    batch = Dim("batch")
    shapes = tuple({0: batch} for _ in example)
    try:
        program = _exported(servable, example, shapes)
    except Exception as error:
        sentence = str(error).strip().splitlines()[0].rstrip(".")
        raise ExportError(
            f"torch.export cannot capture {predictor.config.family} for batches of any size: {sentence[:300]};"
            " a network's forward must not depend on the values of its input"
        ) from error
    # Where each operation comes from: paths of this machine, which the file is about to leave.
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _exported(servable: Servable, example: tuple[Tensor, ...], shapes: tuple[dict[int, Dim], ...]) -> ExportedProgram:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(servable, example, dynamic_shapes=shapes, strict=False)
        except Exception:
            # Python's len(images) is a constant to the fast way, and not to the one that reads bytecode.
            return torch.export.export(servable, example, dynamic_shapes=shapes, strict=True)
