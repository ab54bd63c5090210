"""What a prediction costs over loopback: one picture, a batch, and a look of the playground, on a warm CPU network."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
from PIL import Image

from bench.instance import Instance
from bench.report import row, save

ONE = 200
BATCH = 128
BATCHES = 10
LOOKS = 30
NETWORKS = (("simple_cnn", "base"), ("simple_mlp", "base"), ("vit", "tiny"))


def main() -> None:
    """Train three networks for an epoch, then predict with them."""
    with Instance() as instance:
        runs = [
            instance.call("/runs", {"family": family, "size": size, "dataset": "digits", "epochs": 1})
            for family, size in NETWORKS
        ]
        for run in runs:
            instance.wait(run["id"], "succeeded")
        # Connections are kept: that is what a program that predicts does.
        with httpx.Client(base_url=instance.address, timeout=120) as client:
            rows = _predictions(client, runs[0]["id"]) + _looks(client, [str(run["number"]) for run in runs])
    save("prediction_service", rows)


def _predictions(client: httpx.Client, run: str) -> list[dict[str, Any]]:
    address = f"/api/v1/runs/{run}/predict"
    one = [("file", ("digit.png", _png(0)))]
    many = [("file", (f"{seed}.png", _png(seed))) for seed in range(BATCH)]

    def send(files: list[tuple[str, tuple[str, bytes]]]) -> Callable[[], httpx.Response]:
        return lambda: client.post(address, files=files)

    _seconds(send(one), 5)
    single = [1000 * seconds for seconds in _seconds(send(one), ONE)]
    rates = [BATCH / seconds for seconds in _seconds(send(many), BATCHES)]
    return [
        row("one picture, simple_cnn base, ms", single, "<= 25", "p95"),
        row(f"pictures a second, {BATCH} at once, 1/s", rates, ">= 200"),
    ]


def _looks(client: httpx.Client, tokens: list[str]) -> list[dict[str, Any]]:
    question: dict[str, Any] = {"picture": "digits:test:1", "changes": {"rotation": 10}}
    rows = []
    for what, more, target in (
        ("a look of simple_cnn base, ms", {"runs": tokens[:1]}, "<= 150"),
        ("the same with Grad-CAM and a curve, ms", {"runs": tokens[:1], "why": True, "sweep": "rotation"}, "<= 150"),
        ("a look of three networks, ms", {"runs": tokens}, "<= 150"),
        ("the same with explanations and curves, ms", {"runs": tokens, "why": True, "sweep": "rotation"}, ""),
    ):

        def look(more: dict[str, Any] = more) -> httpx.Response:
            return client.post("/playground/look", json=question | more)

        _seconds(look, 3)
        rows.append(
            row(what, [1000 * seconds for seconds in _seconds(look, LOOKS)], target, "p95" if target else "median")
        )
    return rows


def _seconds(send: Callable[[], httpx.Response], times: int) -> list[float]:
    """Seconds of each request. Raises HTTPStatusError."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        answer = send()
        taken.append(time.perf_counter() - started)
        answer.raise_for_status()
    return taken


def _png(seed: int) -> bytes:
    """A picture of the dataset's size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (28, 28), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
