"""Exports a network's weights as safetensors, with a JSON file that says how to build and feed it."""

from __future__ import annotations

import json

import safetensors.torch

from app.contract.datasets import dataset
from worker.exporting.description import describe, how_to_load
from worker.training.checkpoint_file import State
from worker.training.predictor import Predictor


def export_weights(state: State, predictor: Predictor) -> tuple[bytes, bytes]:
    """The safetensors file and the JSON file, for the weights with which the checkpoint predicts.

    The description is also in the metadata of the safetensors file, which may be moved without the other one.
    """
    weights = {name: values.contiguous() for name, values in (state.average or state.network).items()}
    about = describe(predictor, dataset(predictor.config.dataset).side)
    averaged = bool(state.average or predictor.config.ema_decay)
    about |= {"averaged": averaged, "how_to_load": how_to_load(predictor.config.family)}
    text = json.dumps(about, indent=2, ensure_ascii=False)
    return safetensors.torch.save(weights, {"runyard": json.dumps(about)}), text.encode()
