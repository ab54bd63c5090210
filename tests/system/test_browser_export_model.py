"""From a run's page to an answer in onnxruntime: export, download and predict, in a real Chromium."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from PIL import Image
from playwright.sync_api import Page, expect

from worker.data.datasets import load

MAKING_MS = 180_000


def test_the_onnx_model_of_a_runs_page_predicts_as_well_as_its_run(page: Page, yard: Any, tmp_path: Path) -> None:
    run = yard.launch(dataset="digits", family="simple_mlp", size="tiny", epochs=8)
    yard.wait_for(run, "succeeded")
    page.goto(f"{yard.address}/runs/{run}")
    page.locator("#make-onnx").click()
    link = page.locator("#use-onnx a[download]")
    expect(link).to_have_text("model.onnx", timeout=MAKING_MS)
    expect(page.locator("#use-onnx .use-file")).to_contain_text("differs from torch by at most")
    page.locator("#how-onnx summary").click()
    lines = page.locator("#lines-onnx").inner_text()
    with page.expect_download() as download:
        link.click()
    link_name = download.value.suggested_filename
    assert link_name.endswith("-model.onnx")
    content = Path(download.value.path()).read_bytes()

    test = load("digits", ["digit"], yard.folder / "data" / "datasets", lambda text: None).test
    session = onnxruntime.InferenceSession(content)
    (probabilities,) = session.run(["digit"], {"images": test.images.numpy()})
    right = float((probabilities.argmax(1) == test.targets["digit"].numpy()).mean())
    measured = yard.call(f"/runs/{run}")["summary"]["test/acc"]["last"]
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert abs(right - measured) < 0.5 / len(test)
    # The lines on the page, as they are, on an image of the dataset.
    (tmp_path / link_name).write_bytes(content)
    Image.fromarray(test.images[0, 0].numpy()).save(tmp_path / "image.png")
    environment = os.environ | {"PYTHONWARNINGS": "error"}
    said = subprocess.check_output([sys.executable, "-c", lines], cwd=tmp_path, env=environment, text=True)
    assert said.split()[0] == f"[{probabilities[0].argmax()}]"

    about = {each.key: each.value for each in onnx.load_from_string(content).metadata_props}
    assert json.loads(about["heads"]) == {"digit": list("0123456789")}

    page.goto(f"{yard.address}/runs/{run}/card")
    expect(page.locator("h1")).to_contain_text("Model card")
    with page.expect_download() as document:
        page.locator("#card-markdown").click()
    assert "## Model Details" in Path(document.value.path()).read_text()
