"""Answers questions about trained networks: what they predict for pictures, and how one picture looks to several.

Questions are JSON objects:

- {"ask": "predict", "network": {"path", "step"}, "pictures": [base64 of an image file, …], "center"}
- {"ask": "look", "networks": [{"key", "path", "step"}, …], "picture": {"content": base64} or {"dataset", "part",
  "index"}, "center", "changes": see `Changes`, "sweep": a slider's name or "", "why": bool}

A question that cannot be answered is answered with {"refused": {"kind", "reason", "picture"}}.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.contract.playground import SLIDERS, SWEPT, Changes
from worker.data.image_measures import columns, measure
from worker.data.importing.errors import Unusable
from worker.data.importing.tasks import Pixels
from worker.inference.changes import changed
from worker.inference.colors import colored, png
from worker.inference.errors import Refused
from worker.inference.explanations import explain
from worker.inference.networks import Network, Networks
from worker.inference.pictures import Feed
from worker.inference.stored_pictures import StoredPicture, StoredPictures
from worker.training.checkpoint_file import Store
from worker.training.predictor import Predictor

BATCH_BYTES = 64 * 2**20
"""Bytes of float32 inputs that are predicted at once: what a network makes of them in between is many times as much."""


class Answers:
    """Answers one question after another. datasets: the folder of datasets. artifacts: URL of the artifact store."""

    def __init__(self, datasets: Path, artifacts: str, models_path: Path | None, most_bytes: int) -> None:
        self._networks = Networks(Store(artifacts), models_path, most_bytes)
        self._stored = StoredPictures(datasets)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question."""
        try:
            match question["ask"]:
                case "predict":
                    return self._predict(question)
                case "look":
                    return self._look(question)
            raise ValueError(f"unknown question {question['ask']!r}")
        except Refused as refused:
            return {"refused": refused.as_json()}

    def _predict(self, question: dict[str, Any]) -> dict[str, Any]:
        network = self._networks.get(question["network"]["path"], question["network"]["step"])
        feed = Feed.of(network.dataset)
        fed = []
        for place, encoded in enumerate(question["pictures"]):
            try:
                fed.append(feed.pixels(_decoded(encoded), question["center"]))
            except Unusable as problem:
                raise Refused("picture", str(problem), place) from problem
        found = probabilities(network.predictor, torch.from_numpy(np.stack(fed)))
        return _described(network) | {"probabilities": {head: values.tolist() for head, values in found.items()}}

    # Several networks at one picture -----------------------------------------------------------------------------

    def _look(self, question: dict[str, Any]) -> dict[str, Any]:
        asked = question["picture"]
        stored = None if "content" in asked else self._stored.get(asked["dataset"], asked["part"], asked["index"])
        content = _decoded(asked["content"]) if stored is None else stored.pixels
        changes = Changes.model_validate(question["changes"])
        fed: dict[Feed, Fed] = {}
        votes: list[dict[str, Any]] = []
        for chosen in question["networks"]:
            try:
                network = self._networks.get(chosen["path"], chosen["step"])
            except Refused as refused:
                votes.append({"key": chosen["key"], "refused": refused.as_json()})
                continue
            feed = Feed.of(network.dataset)
            if feed not in fed:
                try:
                    fed[feed] = Fed(len(fed), feed, _fed(feed, network, content, stored, question["center"]), changes)
                except Unusable as problem:
                    raise Refused("picture", str(problem)) from problem
            votes.append({"key": chosen["key"]} | fed[feed].vote(network, question["sweep"], question["why"]))
        answer: dict[str, Any] = {"fed": [each.as_json() for each in fed.values()], "votes": votes}
        if stored is not None:
            answer["true"] = stored.labels
        return answer


class Fed:
    """A picture as networks of one dataset are fed with it, after its changes."""

    def __init__(self, place: int, feed: Feed, pixels: Pixels, changes: Changes) -> None:
        self._place = place
        self._feed = feed
        self._image = torch.tensor(pixels)
        self._changes = changes
        self._background = "zeros" if feed.drawn or feed.channels == 1 else "border"
        self._changed = changed(self._image, [changes], self._background)
        self._swept: dict[str, Tensor] = {}

    def as_json(self) -> dict[str, Any]:
        """What the networks are fed with."""
        return {"png": png(_picture(self._changed[0])), "side": self._feed.side, "channels": self._feed.channels}

    def vote(self, network: Network, sweep: str, why: bool) -> dict[str, Any]:
        """What a network predicts; with a sweep, how its first class's probability changes along a slider."""
        found = probabilities(network.predictor, self._changed)
        vote: dict[str, Any] = _described(network) | {
            "fed": self._place,
            "probabilities": {head: values[0].tolist() for head, values in found.items()},
        }
        main = network.predictor.config.targets[0]
        label = int(found[main][0].argmax())
        if sweep:
            along = probabilities(network.predictor, self._along(sweep))[main][:, label]
            vote["sweep"] = along.tolist()
        if why:
            values, method = _explained(network, self._changed, main, label)
            vote["why"] = {"png": png(colored(values)), "method": method}
        return vote

    def _along(self, sweep: str) -> Tensor:
        if sweep not in self._swept:
            slider = next(each for each in SLIDERS if each.name == sweep)
            places = [self._changes.model_copy(update={sweep: value}) for value in slider.values(SWEPT)]
            self._swept[sweep] = changed(self._image, places, self._background)
        return self._swept[sweep]


def _fed(feed: Feed, network: Network, content: bytes | Pixels, stored: StoredPicture | None, center: Any) -> Pixels:
    if stored is None:
        return feed.pixels(content, center)
    if stored.dataset == network.dataset.key:
        return stored.raw
    return feed.pixels(content, "auto")


def probabilities(predictor: Predictor, images: Tensor) -> dict[str, Tensor]:
    """By head, float32 [N, classes], of fed pictures uint8 [N, C, H, W]; measures the scalars that a network takes."""
    rows = max(1, BATCH_BYTES // (4 * images[0].numel()))
    parts = [
        predictor.probabilities(some, scalars_of(predictor, some))
        for some in (images[start : start + rows] for start in range(0, len(images), rows))
    ]
    return {head: torch.cat([part[head] for part in parts]) for head in parts[0]}


def scalars_of(predictor: Predictor, images: Tensor) -> Tensor | None:
    """The auxiliary scalars of pictures, float32 [N, n], for a network that takes some."""
    names = predictor.inputs.scalars
    if not names:
        return None
    measured = np.concatenate(list(measure(images[:, 0].numpy())))
    return torch.from_numpy(columns(names, measured))


def _explained(network: Network, image: Tensor, head: str, label: int) -> tuple[np.ndarray[Any, Any], str]:
    predictor = network.predictor
    inputs = predictor.inputs
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (inputs.mean, inputs.std))
    scalars = scalars_of(predictor, image)
    standard = None if scalars is None else inputs.standardize(scalars)

    def logits(images: Tensor) -> Tensor:
        given = () if standard is None else (standard.expand(len(images), -1),)
        output = predictor.network(images, *given)
        found: Tensor = output[head] if isinstance(output, dict) else output
        return found

    values, method = explain(predictor.network, logits, (image.float() / 255 - mean) / std, label)
    return values.numpy().astype(np.float32), method


def _described(network: Network) -> dict[str, Any]:
    return {
        "dataset": network.dataset.key,
        "labels": {head: list(labels) for head, labels in network.labels.items()},
    }


def _picture(image: Tensor) -> Pixels:
    pixels: Pixels = image.permute(1, 2, 0).contiguous().numpy()
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise Refused("picture", "is not encoded as base64") from error
