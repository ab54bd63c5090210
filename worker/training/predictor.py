"""Predicts with a checkpoint: the saved network, with inputs scaled as in training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from app.contract.spec import RunConfig
from worker.data.inputs import Inputs
from worker.training.checkpoint_file import State
from worker.training.network import build_network


@dataclass(frozen=True)
class Predictor:
    """A trained network in evaluation mode, and the values that scale its inputs."""

    config: RunConfig
    inputs: Inputs
    network: nn.Module

    @classmethod
    def of(cls, state: State, models_path: Path | None = None) -> Predictor:
        """Load a checkpoint's network. Raises ValueError for one of the first version, which does not describe it."""
        if "config" not in state.metadata:
            raise ValueError(
                "this checkpoint is from Runyard 0.1.0 and lacks a description of its network; retry the run"
            )
        config = RunConfig.model_validate(state.metadata["config"])
        inputs = Inputs.from_dict(state.metadata["inputs"])
        network = build_network(config, len(inputs.scalars), models_path)
        network.load_state_dict(state.average or state.network)
        return cls(config, inputs, network.eval())

    @torch.inference_mode()
    def probabilities(self, images: Tensor, scalars: Tensor | None = None) -> dict[str, Tensor]:
        """Raw images uint8 [N, C, H, W], measured scalars float [N, n] -> by target, float32 [N, classes].

        Raises ValueError if the network takes scalars and none are given, or the reverse.
        """
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.inputs.mean, self.inputs.std))
        normal = (images.float() / 255 - mean) / std
        if scalars is not None and not self.inputs.scalars:
            raise ValueError("this network does not take auxiliary scalars")
        standard = () if scalars is None else (self.inputs.standardize(scalars),)
        logits = self._logits(normal, *standard)
        if self.config.mirror:
            mirrored = self._logits(normal.flip(3), *standard)
            logits = {name: (values + mirrored[name]) / 2 for name, values in logits.items()}
        return {name: values.softmax(1) for name, values in logits.items()}

    def _logits(self, images: Tensor, *scalars: Tensor) -> dict[str, Tensor]:
        output = self.network(images, *scalars)
        return output if isinstance(output, dict) else {self.config.targets[0]: output}
