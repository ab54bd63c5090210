"""What someone needs to know to build a network without Runyard's database, and to feed it."""

from __future__ import annotations

from typing import Any

import models
from app.contract.datasets import dataset
from worker.training.predictor import Predictor

FORMAT = 1

HOW_TO_LOAD = """\
import json, sys, _runyard
from pathlib import Path
from safetensors.torch import load_file
sys.path.insert(0, str(_runyard.HOME))
import models
about = json.loads(Path("weights.json").read_text())
heads = {name: len(classes) for name, classes in about["heads"].items()}
shape = models.Shape(about["channels"], about["side"], heads, len(about["scalars"]))
network = models.build(about["family"], about["size"], shape, about["options"])
network.load_state_dict(load_file("weights.safetensors"))
network.eval()
"""
"""Python that builds the network of ``weights.json``; needs Runyard, but no server, database or checkpoint."""

LOAD_OWN = 'models.load_path(Path("FOLDER"))  # the folder of RUNYARD_MODELS_PATH'
"""A line that it needs after ``import models`` for an architecture of the user's own."""
_OF_THE_PACKAGE = "models/"


def how_to_load(family: str) -> list[str]:
    """The lines of Python for this family."""
    lines = HOW_TO_LOAD.splitlines()
    if not models.get(family).source.startswith(_OF_THE_PACKAGE):
        lines.insert(lines.index("import models") + 1, LOAD_OWN)
    return lines


def describe(predictor: Predictor, side: int, preprocessing: bool = False) -> dict[str, Any]:
    """How to build and feed a network, as JSON-compatible values.

    heads: the class names by head, the main head first. mean, std: by channel, of pixels scaled to 0..1; with
    ``preprocessing`` the file does that itself. scalars: their names, with mean and deviation as measured. mirror:
    whether logits are averaged with those of the mirrored image.
    """
    config, inputs = predictor.config, predictor.inputs
    info = dataset(config.dataset)
    family = models.get(config.family)
    return {
        "format": FORMAT,
        "family": config.family,
        "size": config.size,
        "options": family.choose(dict(config.options)),
        "dataset": config.dataset,
        "heads": {name: list(info.target(name).labels) for name in config.targets},
        "channels": len(inputs.mean),
        "side": side,
        "mean": list(inputs.mean),
        "std": list(inputs.std),
        "scalars": list(inputs.scalars),
        "scalars_mean": list(inputs.scalars_mean),
        "scalars_std": list(inputs.scalars_std),
        "mirror": config.mirror,
        "preprocessing": preprocessing,
    }
