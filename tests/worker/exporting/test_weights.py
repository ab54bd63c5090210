"""Exported weights are enough to build the network again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.worker.conftest import fit_run, make_config
from worker.exporting.weights import export_weights
from worker.training.checkpoint_file import from_bytes
from worker.training.predictor import Predictor

ROOT = Path(__file__).parents[3]
PREDICT = """
import torch
images = torch.load("images.pt")
mean, std = (torch.tensor(about[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
with torch.inference_mode():
    logits = network((images.float() / 255 - mean) / std)
torch.save(logits.softmax(1), "found.pt")
"""


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}])
def test_the_lines_in_the_json_file_build_the_network_that_predicts_the_same(
    data_dir: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    fitted = fit_run(make_config(epochs=1, **changes), data_dir)
    state = from_bytes(fitted.kept([each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]))
    predictor = Predictor.of(state)
    weights, description = export_weights(state, predictor)
    about = json.loads(description)
    assert about["averaged"] is bool(changes)
    assert len(about["how_to_load"]) <= 12
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    (tmp_path / "weights.safetensors").write_bytes(weights)
    (tmp_path / "weights.json").write_bytes(description)
    torch.save(images, tmp_path / "images.pt")
    code = "\n".join([f"import sys; sys.path.insert(0, {str(ROOT)!r})", *about["how_to_load"], PREDICT])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "found.pt")
    torch.testing.assert_close(found, predictor.probabilities(images)["digit"])


def test_the_weights_alone_say_what_they_are(data_dir: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    fitted = fit_run(make_config(epochs=1), data_dir)
    state = from_bytes(fitted.kept([each for each in fitted.reporter.events_of("checkpoint") if each.best][-1]))
    weights, description = export_weights(state, Predictor.of(state))
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert json.loads(file.metadata()["runyard"]) == json.loads(description)
        assert set(file.keys()) == set(state.network)
