"""`runyard predict` and `runyard alias`, against a real server."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from typer.testing import CliRunner

from app.cli import cli
from app.contract.settings import Settings
from runyard import Runyard
from tests.checkpoints import LocalInference, finished_run
from tests.conftest import Runs
from tests.served import serving
from worker.data.dataset_readers import digits


@pytest.fixture
def address(server: FastAPI, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that predicts in this process."""
    server.state.parts.inference = LocalInference(settings)
    with serving(server) as found:
        monkeypatch.setenv("RUNYARD_URL", found)
        yield found


def called(*words: str, status: int = 0) -> str:
    """What a command prints."""
    found = CliRunner().invoke(cli, list(words))
    assert found.exit_code == status, found.output
    return found.output


def test_pictures_become_rows_of_csv_or_json_by_run_and_by_name(
    address: str, runs: Runs, settings: Settings, tmp_path: Path
) -> None:
    run, predictor = finished_run(runs, settings)
    images = digits().images[:3]
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for path, image in zip(paths, images.numpy(), strict=True):
        Image.fromarray(image[0]).save(path)
    expected = predictor.probabilities(images)["digit"]
    rows = list(csv.DictReader(io.StringIO(called("predict", "1", *map(str, paths)))))
    assert [row["picture"] for row in rows] == list(map(str, paths))
    assert [row["class"] for row in rows] == [str(int(each.argmax())) for each in expected]
    assert [float(rows[0][str(label)]) for label in range(10)] == pytest.approx(expected[0].tolist(), abs=1e-5)

    assert "points to run #1" in called("alias", "set", "digits-production", run)
    said = json.loads(called("predict", "digits-production", str(paths[0]), "--top", "2", "--json"))
    assert len(said["predictions"][0]["probabilities"]) == 2
    assert "digits-production" in called("alias", "ls")
    assert called("alias", "rm", "digits-production").strip() == "digits-production removed"
    assert "is not a file" in called("predict", "1", str(tmp_path / "none.png"), status=2)
    (tmp_path / "a.png").write_bytes(b"%PDF")
    (tmp_path / "b.png").write_bytes(b"")
    for name, sentence in (("a.png", "is not an image but a PDF"), ("b.png", "is empty")):
        wrong = tmp_path / name
        assert f"{wrong} {sentence}" in called("predict", "1", str(paths[0]), str(wrong), status=1)


def test_the_python_client_takes_paths_bytes_images_and_arrays(
    address: str, runs: Runs, settings: Settings, tmp_path: Path
) -> None:
    run, _ = finished_run(runs, settings)
    pixels = digits().images[0, 0].numpy()
    image = Image.fromarray(pixels)
    image.save(tmp_path / "digit.png")
    with Runyard(address) as yard:
        found = yard.run(run)
        content = (tmp_path / "digit.png").read_bytes()
        gray = np.repeat(pixels[:, :, None], 3, 2)
        same = found.predict([tmp_path / "digit.png", str(tmp_path / "digit.png"), content, image, pixels, gray])
        assert len({each.label for each in same}) == 1
        assert all(each.probability == pytest.approx(same[0].probability, abs=1e-6) for each in same)
        assert yard.set_model("mine", found)["number"] == 1
        assert yard.predict("mine", [pixels]) == found.predict([pixels])
        with pytest.raises(ValueError, match=r"not \[28, 28, 5\]"):
            found.predict([np.zeros((28, 28, 5), np.uint8)])
        with pytest.raises(ValueError, match="not float64"):
            found.predict([np.zeros((28, 28))])
        with pytest.raises(TypeError, match="a list of images"):
            found.predict(content)
        yard.delete_model("mine")
        assert yard.models() == []
