"""Questions about checkpoints of every kind: answered as the trainer's own predictor would, or refused."""

from __future__ import annotations

import base64
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.contract.datasets import DATASETS
from app.contract.playground import SLIDERS, SWEPT
from app.services.answering_process import AnsweringProcess
from tests.checkpoints import SCALARS, write_checkpoint
from worker.data.datasets import load
from worker.data.image_measures import columns, measure
from worker.inference.answers import Answers
from worker.inference.networks import Networks
from worker.training.checkpoint_file import Store

FAMILIES = ("simple_mlp", "simple_dense_net", "simple_cnn", "efficientnet", "convnext_v2", "vit")
OWN = '''
from torch import nn
from models import Family, Size, register
from models._heads import Heads

class Own(nn.Module):
    """Flat pixels."""

    def __init__(self, shape, width):
        super().__init__()
        self.hidden = nn.Linear(shape.channels * shape.side ** 2, width)
        self.heads = Heads(width, shape.heads)

    def forward(self, images, auxiliary=None):
        return self.heads(self.hidden(images.flatten(1)).relu())

def counts(width):
    return tuple(p * width + width + 10 * width + 10 for p in (784, 3072)) + (3072 * width + width + 100 * width + 100,)

register(Family(name="own", summary="Own.", when="Never.", build=Own, sizes=(Size("tiny", {"width": 8}, counts(8)),),
    default="tiny", reference="None"))
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with datasets and artifacts."""
    DATASETS.open(tmp_path / "datasets")
    return tmp_path


@pytest.fixture
def answers(folder: Path) -> Answers:
    """Answers about what is in the folder."""
    return Answers(folder / "datasets", str(folder / "artifacts"), None, 2**30)


@pytest.fixture
def images(folder: Path) -> Tensor:
    """Three test pictures of digits."""
    found: Tensor = load("digits", ["digit"], folder / "datasets", lambda sentence: None).test.images[:3]
    return found


def encoded(image: Tensor) -> str:
    """A picture as base64 of a PNG."""
    file = io.BytesIO()
    Image.fromarray(image[0].numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def predicting(images: Tensor, path: str = "a/best.safetensors", step: int = 1) -> dict[str, Any]:
    """A question about pictures."""
    pictures = [encoded(image) for image in images]
    return {"ask": "predict", "network": {"path": path, "step": step}, "pictures": pictures, "center": "auto"}


def looking(*keys: str, **said: Any) -> dict[str, Any]:
    """A question about a test picture."""
    networks = [{"key": key, "path": f"{key}/best.safetensors", "step": 1} for key in keys]
    picture = {"dataset": "digits", "part": "test", "index": 1}
    question = {"ask": "look", "networks": networks, "picture": picture, "center": "auto"}
    return question | {"changes": {}, "sweep": "", "why": False} | said


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_are_predicted_as_the_raw_images_are(
    answers: Answers, folder: Path, images: Tensor, family: str
) -> None:
    size = {"simple_dense_net": "base", "efficientnet": "tiny"}.get(family, "tiny")
    heads = ["digit", "thickness"] if family == "vit" else ["digit"]
    path = "a/best.safetensors"
    said: dict[str, Any] = {"family": family, "size": size, "targets": heads, "mirror": family == "simple_cnn"}
    predictor = write_checkpoint(str(folder / "artifacts"), path, **said)
    answer = json.loads(json.dumps(answers.answer(predicting(images))))
    expected = predictor.probabilities(images)
    assert list(answer["probabilities"]) == heads
    assert answer["labels"]["digit"] == list("0123456789")
    for head, probabilities in expected.items():
        torch.testing.assert_close(torch.tensor(answer["probabilities"][head]), probabilities, atol=1e-5, rtol=1e-4)
    # The playground says the same of the dataset's own image, and explains it.
    look = answers.answer(looking("a", why=True))
    (vote,) = look["votes"]
    torch.testing.assert_close(torch.tensor(vote["probabilities"]["digit"]), expected["digit"][1], atol=1e-5, rtol=1e-4)
    assert look["true"]["digit"] in range(10)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(look["fed"][0]["png"]))))
    assert shown.tolist() == images[1, 0].tolist()
    why = np.asarray(Image.open(io.BytesIO(base64.b64decode(vote["why"]["png"]))))
    assert why.shape == (28, 28, 3)


def test_scalars_are_measured_from_the_pixels(answers: Answers, folder: Path, images: Tensor) -> None:
    said: dict[str, Any] = {"family": "simple_cnn", "size": "tiny", "auxiliary": True}
    predictor = write_checkpoint(str(folder / "artifacts"), "a/best.safetensors", **said)
    measured = columns(SCALARS, np.concatenate(list(measure(images[:, 0].numpy()))))
    expected = predictor.probabilities(images, torch.from_numpy(measured))["digit"]
    found = torch.tensor(answers.answer(predicting(images))["probabilities"]["digit"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    vote = answers.answer(looking("a", why=True, sweep="rotation"))["votes"][0]
    assert vote["why"]["method"] == "Grad-CAM"
    assert len(vote["sweep"]) == SWEPT


def test_own_architectures_predict_and_are_explained_by_occlusion(folder: Path, images: Tensor) -> None:
    own = folder / "own"
    own.mkdir()
    (own / "own.py").write_text(OWN)
    predictor = write_checkpoint(str(folder / "artifacts"), "a/best.safetensors", 0, own, family="own", size="tiny")
    answers = Answers(folder / "datasets", str(folder / "artifacts"), own, 2**30)
    found = torch.tensor(answers.answer(predicting(images))["probabilities"]["digit"])
    torch.testing.assert_close(found, predictor.probabilities(images)["digit"], atol=1e-5, rtol=1e-4)
    assert answers.answer(looking("a", why=True))["votes"][0]["why"]["method"] == "occlusion"


def test_a_sweep_passes_through_the_vote_itself(answers: Answers, folder: Path) -> None:
    write_checkpoint(str(folder / "artifacts"), "a/best.safetensors", family="simple_cnn", size="tiny")
    for slider in SLIDERS:
        middle = slider.values(SWEPT)[4]
        asked = looking("a", sweep=slider.name, changes={slider.name: middle})
        (vote,) = answers.answer(asked)["votes"]
        assert vote["sweep"][4] == pytest.approx(max(vote["probabilities"]["digit"]), abs=1e-5)


def test_one_network_that_cannot_vote_does_not_keep_the_others_from_it(answers: Answers, folder: Path) -> None:
    other: dict[str, Any] = {"family": "vit", "size": "tiny", "dataset": "cifar10", "targets": ["fine"]}
    for key, said in (("a", {}), ("b", other)):
        targets = [DATASETS[said.get("dataset", "digits")].targets[0].name]
        write_checkpoint(str(folder / "artifacts"), f"{key}/best.safetensors", **said | {"targets": targets})
    look = answers.answer(looking("a", "gone", "b"))
    assert [vote["key"] for vote in look["votes"]] == ["a", "gone", "b"]
    assert look["votes"][1]["refused"]["kind"] == "gone"
    # A network for another dataset is fed with what its dataset's images are like.
    assert [(fed["channels"], fed["side"]) for fed in look["fed"]] == [(1, 28), (3, 32)]
    assert [vote.get("fed") for vote in look["votes"]] == [0, None, 1]


def test_what_cannot_be_answered_is_refused_in_a_sentence(answers: Answers, folder: Path, images: Tensor) -> None:
    assert answers.answer(predicting(images))["refused"]["kind"] == "gone"
    Store(str(folder / "artifacts")).write("a/best.safetensors", b"no checkpoint")
    refused = answers.answer(predicting(images))["refused"]
    assert refused == {"kind": "network", "reason": "not a Runyard checkpoint, or a truncated one", "picture": 0}
    write_checkpoint(str(folder / "artifacts"), "a/best.safetensors")
    question = predicting(images)
    question["pictures"][1] = base64.b64encode(b"%PDF").decode()
    assert answers.answer(question)["refused"] == {
        "kind": "picture",
        "reason": "is not an image but a PDF",
        "picture": 1,
    }
    for picture, why in (
        ({"dataset": "mnist", "part": "test", "index": 0}, "once a run has prepared it"),
        ({"dataset": "digits", "part": "test", "index": 10**6}, "digits has 360 test images, the last one is 359"),
        ({"dataset": "nothing", "part": "test", "index": 0}, "no dataset 'nothing'"),
    ):
        assert why in answers.answer(looking("a", picture=picture))["refused"]["reason"]


def test_networks_used_last_are_kept_up_to_so_many_bytes(folder: Path) -> None:
    for key in "abc":
        write_checkpoint(str(folder / "artifacts"), f"{key}.safetensors", family="simple_mlp", size="tiny")
    store = Store(str(folder / "artifacts"))
    size = Networks(store, None, 0).get("a.safetensors", 1).bytes
    networks = Networks(store, None, 2 * size)
    first = networks.get("a.safetensors", 1)
    networks.get("b.safetensors", 1)
    assert networks.get("a.safetensors", 1) is first
    networks.get("c.safetensors", 1)
    assert (len(networks), networks.bytes) == (2, 2 * size)
    store.remove("a.safetensors")
    assert networks.get("a.safetensors", 1) is first
    # A better checkpoint under the same path takes the place of the one before.
    write_checkpoint(str(folder / "artifacts"), "a.safetensors", 5, family="simple_mlp", size="tiny")
    assert networks.get("a.safetensors", 2) is not first
    assert len(networks) == 2


def test_the_process_answers_line_by_line(folder: Path, images: Tensor) -> None:
    write_checkpoint(str(folder / "artifacts"), "a/best.safetensors")
    process = AnsweringProcess("worker.inference", "the process that predicts", logging.getLogger("test"))
    command = ("", str(folder / "datasets"), str(folder / "artifacts"), str(2**30))
    try:
        assert len(process.ask(command, predicting(images))["probabilities"]["digit"]) == 3
        assert "refused" in process.ask(command, predicting(images, "none.safetensors"))
    finally:
        process.close()
