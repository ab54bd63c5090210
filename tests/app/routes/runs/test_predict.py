"""Pictures are sent, classes and probabilities come back; whatever cannot be predicted is refused in one sentence."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from app.contract.settings import Settings
from app.web.security import MAX_PICTURES_BYTES
from tests.checkpoints import LocalInference, finished_run
from tests.conftest import Runs, errors_of
from worker.data.dataset_readers import digits

FAMILY: dict[str, Any] = {"family": "simple_cnn", "size": "tiny"}


@pytest.fixture(autouse=True)
def local(server: FastAPI, settings: Settings) -> None:
    """Predictions made in this process."""
    server.state.parts.inference = LocalInference(settings)


def png(pixels: Any, kind: str = "PNG") -> bytes:
    """Pixels as an image file."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, kind)
    return file.getvalue()


def files(*contents: bytes, name: str = "digit.png") -> list[tuple[str, tuple[str, bytes]]]:
    """A form with files of this name."""
    return [("file", (name, content)) for content in contents]


def test_pictures_of_the_dataset_are_predicted_as_the_raw_images_are(
    client: TestClient, runs: Runs, settings: Settings
) -> None:
    run, predictor = finished_run(runs, settings, **FAMILY, targets=["digit", "thickness"])
    images = digits().images[:3]
    answer = client.post(f"/api/v1/runs/{run}/predict", files=files(*(png(image[0]) for image in images)))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["run"], said["checkpoint"], said["epoch"], said["step"]) == (run, "best", 1, 10)
    expected = predictor.probabilities(images)
    for place, each in enumerate(said["predictions"]):
        assert each["name"] == "digit.png"
        assert list(each["heads"]) == ["digit", "thickness"]
        for head, probabilities in expected.items():
            found = each["heads"][head]
            given = torch.tensor(list(found["probabilities"].values()))
            torch.testing.assert_close(given, probabilities[place], atol=1e-5, rtol=1e-4)
            assert found["index"] == int(probabilities[place].argmax())
            assert found["probabilities"][found["label"]] == found["probability"]
        assert each["label"] == each["heads"]["digit"]["label"]


def test_json_and_a_bare_body_say_the_same_as_a_form(client: TestClient, runs: Runs, settings: Settings) -> None:
    run, _ = finished_run(runs, settings, **FAMILY)
    content = png(digits().images[5][0])
    address = f"/api/v1/runs/{run}/predict"
    encoded = base64.b64encode(content).decode()
    form = client.post(address, files=files(content)).json()
    form["predictions"][0]["name"] = ""
    assert client.post(address, json={"pictures": [encoded]}).json() == form
    assert client.post(address, json={"pictures": [f"data:image/png;base64,{encoded}"]}).json() == form
    assert client.post(address, content=content, headers={"content-type": "image/png"}).json() == form


def test_the_last_checkpoint_and_only_the_top_classes_can_be_asked_for(
    client: TestClient, runs: Runs, settings: Settings
) -> None:
    run, _ = finished_run(runs, settings, **FAMILY)
    content = png(digits().images[5][0])
    best = client.post(f"/api/v1/runs/{run}/predict", files=files(content)).json()
    last = client.post(f"/api/v1/runs/{run}/predict?checkpoint=last&top=2", files=files(content)).json()
    assert (last["checkpoint"], last["step"]) == ("last", 20)
    probabilities = last["predictions"][0]["heads"]["digit"]["probabilities"]
    assert len(probabilities) == 2
    assert list(probabilities.values()) == sorted(probabilities.values(), reverse=True)
    assert best["predictions"] != last["predictions"]


def test_any_format_size_and_color_mode_becomes_what_the_network_takes(
    client: TestClient, runs: Runs, settings: Settings
) -> None:
    run, _ = finished_run(runs, settings, **FAMILY)
    color = np.random.default_rng(0).integers(0, 255, (90, 120, 4), np.uint8)
    sent = [png(color[..., :3], kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")]
    sent += [png(color), png(color[..., 0].astype(np.uint16) * 257)]
    cmyk = io.BytesIO()
    Image.fromarray(color[..., :3]).convert("CMYK").save(cmyk, "JPEG")
    answer = client.post(f"/api/v1/runs/{run}/predict", files=files(*sent, cmyk.getvalue()))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 9


def five_channels() -> bytes:
    """A TIFF that says it has five channels."""
    entries = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 2), (273, 200), (277, 5), (278, 4), (279, 80)]
    packed = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in entries
    )
    header = b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + packed + b"\0\0\0\0"
    return header.ljust(200, b"\0") + bytes(80)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"%PDF-1.7 ...", "digit.png is not an image but a PDF"),
        (b"hello", "digit.png is not a readable image"),
        (png(np.zeros((8, 8), np.uint8))[:40], "digit.png is damaged or truncated"),
        (b"", "digit.png is empty"),
        (five_channels(), "digit.png has 5 channels; images with 1 to 4 can be read"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(
    client: TestClient, runs: Runs, settings: Settings, content: bytes, sentence: str
) -> None:
    run, _ = finished_run(runs, settings, **FAMILY)
    good = png(digits().images[0][0])
    assert errors_of(client.post(f"/api/v1/runs/{run}/predict", files=files(good, content))) == {"pictures": sentence}


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    client: TestClient, runs: Runs, settings: Settings
) -> None:
    run, _ = finished_run(runs, settings, **FAMILY)
    bomb = io.BytesIO()
    Image.new("1", (7_000, 6_000)).save(bomb, "PNG")
    said = errors_of(client.post(f"/api/v1/runs/{run}/predict", files=files(bomb.getvalue())))["pictures"]
    assert said == "digit.png has 7,000 × 6,000 pixels; at most 40,000,000 are allowed"
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    said = errors_of(client.post(f"/api/v1/runs/{run}/predict", files=files(bomb.getvalue())))["pictures"]
    assert said == "digit.png has more than 40,000,000 pixels, which is the limit"


def test_none_too_many_and_too_large_pictures_are_refused(client: TestClient, runs: Runs, settings: Settings) -> None:
    run, _ = finished_run(runs, settings, **FAMILY)
    address = f"/api/v1/runs/{run}/predict"
    assert errors_of(client.post(address, json={"pictures": []})) == {"pictures": "send at least one image"}
    many = errors_of(client.post(address, json={"pictures": ["aGk="] * 513}))["pictures"]
    assert many == "send at most 512 images at once, not 513"
    large = errors_of(client.post(address, files=files(bytes(17 * 2**20))))["pictures"]
    assert large == "digit.png has 17 MiB; at most 16 MiB are allowed"
    whole = client.post(address, content=b"", headers={"content-length": str(100 * 10**6)})
    assert whole.status_code == 413
    assert whole.json()["detail"] == f"a request can have at most {MAX_PICTURES_BYTES // 2**20} MiB"
    assert errors_of(client.post(address, json={"pictures": ["?"]}))["pictures"] == "image 1 is not encoded as base64"
    named = {"pictures": ["aGk=", "?"], "names": ["a.png", "b.png"]}
    assert errors_of(client.post(address, json=named))["pictures"] == "b.png is not encoded as base64"
    one = {"pictures": ["aGk=", "aGk="], "names": ["a.png"]}
    assert "names must be as many as pictures" in client.post(address, json=one).text
    unnamed = errors_of(client.post(address, json={"pictures": [base64.b64encode(b"%PDF").decode()]}))["pictures"]
    assert unnamed == "image 1 is not an image but a PDF"
    assert "send images as" in client.post(address, content=b"x", headers={"content-type": "text/plain"}).text


def test_a_run_without_a_checkpoint_says_so(client: TestClient, runs: Runs, settings: Settings) -> None:
    content = png(digits().images[0][0])
    fresh = runs.add()
    answer = client.post(f"/api/v1/runs/{fresh}/predict", files=files(content))
    assert answer.status_code == 409
    assert answer.json()["detail"] == "run #1 has no checkpoint yet; the first one is saved after the first epoch"
    runs.set(fresh, checkpoint=json.dumps({"path": "x", "epoch": 0, "step": 5}))
    assert "use checkpoint=last" in client.post(f"/api/v1/runs/{fresh}/predict", files=files(content)).json()["detail"]
    lost = client.post(f"/api/v1/runs/{fresh}/predict?checkpoint=last", files=files(content))
    assert lost.json()["detail"] == "the checkpoint is not in the artifact store any more"
    logged = runs.add()
    runs.set(logged, origin="import", config="{}")
    said = client.post(f"/api/v1/runs/{logged}/predict", files=files(content)).json()["detail"]
    assert said == "run #2 was logged by a script, so there is no checkpoint to predict with"
    assert client.post("/api/v1/runs/r_none/predict", files=files(content)).status_code == 404
