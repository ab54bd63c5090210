"""Checkpoints of networks that were never trained, as runs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from starlette.concurrency import run_in_threadpool

from app.contract.datasets import dataset
from app.contract.settings import Settings
from app.contract.spec import RunConfig
from app.services.inference import Inference
from tests.conftest import Runs, config
from worker.data.inputs import Inputs
from worker.inference.answers import Answers
from worker.training.checkpoint_file import State, Store, to_bytes
from worker.training.network import build_network
from worker.training.predictor import Predictor

if TYPE_CHECKING:
    from torch import nn

SCALARS = ("area", "stroke_length", "thickness", "slant", "height_to_width")


def state_of(network: nn.Module, run_config: RunConfig) -> State:
    """What a run's checkpoint with this network has."""
    info = dataset(run_config.dataset)
    inputs = Inputs(info.mean, info.std)
    if run_config.auxiliary:
        inputs = Inputs(info.mean, info.std, SCALARS, (100.0, 40.0, 3.0, 5.0, 1.4), (40.0, 12.0, 1.0, 15.0, 0.4))
    description = {"config": run_config.model_dump(), "inputs": inputs.to_dict(), "tuning": {}}
    return State(network.state_dict(), {}, {}, description)


def write_checkpoint(
    artifacts: str, path: str, seed: int = 0, models_path: Path | None = None, **said: Any
) -> Predictor:
    """Write a checkpoint of a network with random weights; returns what predicts with it. ``said``: of its config."""
    run_config = config(**said)
    torch.manual_seed(seed)
    network = build_network(run_config, len(SCALARS) if run_config.auxiliary else 0, models_path)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            # So that untrained networks have opinions.
            if name.startswith("heads.") and name.endswith(".weight"):
                weight.mul_(20)
    state = state_of(network, run_config)
    Store(artifacts).write(path, to_bytes(state))
    return Predictor.of(state, models_path)


class LocalInference(Inference):
    """Answers in this process: one of its own takes seconds to import torch."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        # As the process does: threads that wait for each other on a busy machine make answers take ten times as long.
        torch.set_num_threads(1)
        self.answers = Answers(settings.datasets, settings.artifacts, settings.models_path, 2**30)

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        through_the_pipe = json.loads(json.dumps(question))
        answer = await run_in_threadpool(self.answers.answer, through_the_pipe)
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found


def finished_run(runs: Runs, settings: Settings, seed: int = 0, **said: Any) -> tuple[str, Predictor]:
    """A run that has ended with a best and a last checkpoint; the last one has other weights."""
    run = runs.add(**said)
    path = f"{run}/1/best.safetensors"
    predictor = write_checkpoint(settings.artifacts, path, seed, settings.models_path, **said)
    write_checkpoint(settings.artifacts, f"{run}/1/last-20.safetensors", seed + 100, settings.models_path, **said)
    best = {"path": path, "epoch": 1, "step": 10, "best": True}
    last = {"path": f"{run}/1/last-20.safetensors", "epoch": 2, "step": 20}
    runs.set(run, best_checkpoint=json.dumps(best), checkpoint=json.dumps(last))
    runs.finish(run)
    return run, predictor
