"""What a job examines: the network of a checkpoint with the images of its dataset, evaluated as its trainer did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from app.contract.datasets import DATASETS, UnknownDataset
from app.contract.model_jobs import JobRequest
from app.contract.spec import RunConfig
from worker.data.datasets import Data, Part, load
from worker.data.device_dataset import Resident
from worker.data.inputs import Inputs
from worker.data.residence import Residence
from worker.model_jobs.failure import JobFailed
from worker.training import checkpoint_file
from worker.training.checkpoint_file import State, Store
from worker.training.evaluation_logits import evaluation_logits
from worker.training.module import EVALUATION_IMAGES
from worker.training.network import build_network
from worker.training.scored import Scored
from worker.training.tuning import Tuning

FREE_GPU_BYTES: Final = 4 * 2**30
"""A GPU is used only with this much free memory, so that no trainer on it runs out."""
RESIDENT_SHARE: Final = 0.25

Progress = Callable[[float], None]


def read_state(request: JobRequest) -> State:
    """Read the job's checkpoint. Raises JobFailed."""
    path = request.checkpoint.path
    try:
        state = checkpoint_file.from_bytes(Store(request.artifacts).read(path))
    except FileNotFoundError as error:
        raise JobFailed(f"the checkpoint {path} is no longer in the artifact store; retry the run") from error
    except ValueError as error:
        raise JobFailed(f"the checkpoint {path} cannot be read; retry the run") from error
    if "config" not in state.metadata:
        raise JobFailed("this checkpoint is from Runyard 0.1.0 and lacks a description of its network; retry the run")
    return state


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode on ``device``, and the images that it is shown."""

    config: RunConfig
    network: nn.Module
    tuning: Tuning
    data: Data
    held: Resident
    device: torch.device

    @classmethod
    def of(cls, request: JobRequest) -> Subject:
        """Load the checkpoint and its dataset. Raises JobFailed, DatasetError, UnknownArchitecture."""
        DATASETS.open(request.datasets)
        state = read_state(request)
        config = RunConfig.model_validate(state.metadata["config"])
        inputs = Inputs.from_dict(state.metadata["inputs"])
        try:
            data = load(config.dataset, config.targets, request.datasets, _quiet, auxiliary=config.auxiliary)
        except UnknownDataset as error:
            raise JobFailed(str(error)) from error
        device = _free_device()
        before = {name: value for name, value in state.metadata.get("tuning", {}).items() if name != "device"}
        tuning = Tuning(**before)
        network = build_network(config, len(inputs.scalars), request.models_path)
        network.load_state_dict(state.average or state.network)
        network.to(device).eval()
        tuning.place(network)
        # Training images are not needed, and may be many.
        data = replace(data, train=data.validation)
        residence = Residence.choose(data, device, RESIDENT_SHARE)
        held = residence.hold(data, device, inputs=inputs, memory_format=tuning.memory_format)
        return cls(config, network, tuning, data, held, device)

    def logits(self, part: Part, rows: slice, images: Tensor | None = None) -> dict[str, Tensor]:
        """By head, for the images ``rows`` of a split, or for raw ``images``, uint8, in their place."""
        raw = self.held.images(part, rows) if images is None else images.to(self.device)
        with torch.inference_mode(), self.tuning.autocast(self.device):
            normal = self.held.normalize(raw)
            return evaluation_logits(self.network, self.config, normal, self.held.scalars(part, rows))

    def batches(self, part: Part) -> list[slice]:
        """The batches of a split, divided as the trainer does: in other batches, the last bits would differ."""
        return self.held.evaluation(part, self.held.at_most(EVALUATION_IMAGES[self.device.type]))

    def score(self, part: Part, progress: Progress = lambda share: None) -> Scored:
        """Predict all images of a split."""
        scored = Scored()
        batches = self.batches(part)
        for number, rows in enumerate(batches):
            scored.add(self.logits(part, rows), self.held.targets(part, rows))
            progress((number + 1) / len(batches))
        return scored


def _free_device() -> torch.device:
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] >= FREE_GPU_BYTES:
        return torch.device("cuda")
    return torch.device("cpu")


def _quiet(sentence: str) -> None:
    """Take no notice: the run's log had said the same."""
