"""From a checkpoint to predictions: the network as it was kept, fed as it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from app.contract.spec import RunConfig
from worker.data.inputs import Inputs
from worker.training.checkpoint_file import State
from worker.training.trainer import build_network


@dataclass(frozen=True)
class Predictor:
    """A trained network in evaluation mode, and the figures by which its inputs are scaled."""

    config: RunConfig
    inputs: Inputs
    network: nn.Module

    @classmethod
    def of(cls, state: State, models_path: Path | None = None) -> Predictor:
        """A checkpoint's network. Raises ValueError for one of the first version, which does not say what it is."""
        if "config" not in state.facts:
            raise ValueError("this checkpoint does not say which network it holds; train the run again")
        config = RunConfig.model_validate(state.facts["config"])
        inputs = Inputs.from_facts(state.facts["inputs"])
        network = build_network(config, len(inputs.scalars), models_path)
        network.load_state_dict(state.network)
        return cls(config, inputs, network.eval())

    @torch.inference_mode()
    def probabilities(self, images: Tensor, scalars: Tensor | None = None) -> dict[str, Tensor]:
        """Raw images uint8 [N, C, H, W], measured scalars float [N, n] -> by target, float32 [N, classes].

        Raises ValueError when the network takes scalars and none are given, or the other way round.
        """
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.inputs.mean, self.inputs.std))
        normal = (images.float() / 255 - mean) / std
        if scalars is None:
            found = self.network(normal)
        elif not self.inputs.scalars:
            raise ValueError("this network takes no auxiliary scalars")
        else:
            found = self.network(normal, self.inputs.standardize(scalars))
        by_head = found if isinstance(found, dict) else {self.config.targets[0]: found}
        return {name: logits.softmax(1) for name, logits in by_head.items()}
