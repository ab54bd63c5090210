"""Kept predictions for tests: files as trainers write them, with chosen or random answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from app.contract.events import PredictionsKept
from app.contract.predictions import FILE, Header, HeadPredictions, History, Predictions, history_file
from app.contract.settings import Settings
from app.store.database import writing
from app.store.prediction_file import record_file


def probabilities_for(
    labels: npt.NDArray[np.integer], classes: int, skill: float, seed: int
) -> npt.NDArray[np.float32]:
    """Probabilities float32 [N, classes] whose largest one is that of the label in a share of about ``skill``."""
    chance = np.random.default_rng(seed)
    logits = chance.normal(0, 1, (len(labels), classes)).astype(np.float32)
    right = chance.random(len(labels)) < skill
    logits[np.arange(len(labels)), labels] += np.where(right, 5.0, 0.0).astype(np.float32)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponents / exponents.sum(1, keepdims=True), np.float32)


def predictions_of(
    run: str,
    dataset: str = "digits",
    head: str = "digit",
    names: tuple[str, ...] = tuple("0123456789"),
    images: int = 180,
    skill: float = 0.9,
    epochs: int = 4,
    seed: int = 0,
) -> Predictions:
    """Predictions for both splits with this many images each; runs of any seed predict the same images."""
    labels = np.random.default_rng(99).integers(0, len(names), images)
    labels[: len(names)] = np.arange(len(names))[:images]
    parts = {
        part: {head: HeadPredictions.of(probabilities_for(labels, len(names), skill, seed + place), labels)}
        for place, part in enumerate(("validation", "test"))
    }
    history = None
    if epochs:
        rows = [
            HeadPredictions.of(probabilities_for(labels, len(names), skill * (row + 1) / epochs, seed + row), labels)
            for row in range(epochs)
        ]
        history = History(
            np.arange(1, epochs + 1, dtype=np.int32),
            {head: np.stack([row.predicted for row in rows])},
            {head: np.stack([row.confidence for row in rows])},
        )
    header = Header(run=run, fence=1, epoch=epochs, step=9, dataset=dataset, targets={head: names}, created_at=0)
    return Predictions(header, parts, history)


def keep_history(settings: Settings, engine: Engine, found: Predictions) -> None:
    """Write and record the history alone, as a trainer does that has not ended yet."""
    assert found.history is not None
    labels = {head: kept.labels for head, kept in found.parts["validation"].items()}
    first, last = int(found.history.epochs[0]), int(found.history.epochs[-1])
    path = f"{found.header.run}/{found.header.fence}/{history_file(first)}"
    content = Predictions(found.header, {}, replace(found.history, labels=labels)).to_bytes()
    file = Path(settings.artifacts) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    kept = PredictionsKept(path=path, kind="history", epoch=last, step=9, bytes=len(content))
    with writing(engine) as connection:
        record_file(connection, found.header.run, found.header.fence, kept, 1.0)


def keep(settings: Settings, engine: Engine, found: Predictions) -> None:
    """Write a file of predictions and record it."""
    path = f"{found.header.run}/{found.header.fence}/{FILE}"
    content = found.to_bytes()
    file = Path(settings.artifacts) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    kept = PredictionsKept(path=path, kind="final", epoch=found.header.epoch, step=9, bytes=len(content))
    with writing(engine) as connection:
        record_file(connection, found.header.run, found.header.fence, kept, 1.0)
