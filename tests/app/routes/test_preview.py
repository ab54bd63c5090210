"""POST /api/v1/preview says what a run would be and cost, and refuses what POST /api/v1/runs refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.contract.errors import Unavailable
from app.contract.preview import Profile
from app.contract.spec import RunConfig
from app.services.inspector import Inspector
from tests.conftest import Runs, errors_of


def preview(client: TestClient, **said: Any) -> Any:
    answer = client.post("/api/v1/preview", json=said)
    assert answer.status_code == 200, answer.text[:300]
    return answer.json()


def test_a_preview_is_exact_and_launches_nothing(client: TestClient) -> None:
    found = preview(client, family="simple_cnn", dataset="mnist", targets=["digit", "thickness", "smoothness"])
    assert (found["family"], found["size"], found["dataset"]) == ("simple_cnn", "base", "mnist")
    assert found["params"] == 422_866
    assert sum(layer["params"] for layer in found["layers"]) == 422_866
    assert sum(layer["flops"] for layer in found["layers"]) == found["flops"]
    assert (found["batch_size"], found["steps_per_epoch"], found["steps"]) == (128, 429, 4290)
    assert found["memory_bytes"] > found["activation_bytes"] + 4 * 4 * found["params"]
    assert found["predictions"] == []
    assert client.get("/api/v1/runs").json()["total"] == 0


def test_a_preview_counts_what_a_preset_and_options_say(client: TestClient) -> None:
    assert preview(client, preset="mnist_vit_38k")["params"] == 37_770
    plain, learnable = (
        preview(client, family="efficientnet", size="tiny", options=options)["params"]
        for options in ({}, {"swish": "learnable"})
    )
    assert learnable > plain


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"family": "vit", "size": "hug"}, "size"),
        ({"family": "vit", "epochs": 0}, "epochs"),
        ({}, "family"),
        ({"family": "simple_dense_net", "batch_size": 1}, "batch_size"),
        ({"family": "vit", "dataset": "cifar10", "options": {"patch": 7}}, "options"),
    ],
)
def test_a_preview_refuses_what_launching_refuses_in_the_same_words(
    client: TestClient, body: dict[str, Any], field: str
) -> None:
    refused, launched = client.post("/api/v1/preview", json=body), client.post("/api/v1/runs", json=body)
    assert set(errors_of(refused)) == {field}
    assert refused.json() == launched.json()
    assert client.get("/api/v1/runs").json()["total"] == 0


def test_a_patch_that_does_not_fit_is_told_with_those_that_do(client: TestClient) -> None:
    body = {"family": "vit", "dataset": "cifar10", "options": {"patch": 7}}
    assert errors_of(client.post("/api/v1/runs", json=body))["options"].endswith(
        "values of patch that work with cifar10: 4, 8, 16, 32"
    )
    assert client.post("/api/v1/runs", json=body | {"dataset": "mnist"}).status_code == 201


def test_a_preview_says_how_long_an_epoch_takes_where_runs_have_finished(
    client: TestClient, trained: Callable[..., str], present: Callable[..., None]
) -> None:
    trained(dataset="digits")
    present(time.time())
    found = {each["device"]: each for each in preview(client, family="simple_mlp")["predictions"]}
    assert found["made-up cpu"]["epoch_seconds"] == pytest.approx(1257 / 182_000)
    assert found["made-up cpu"]["runs"] == 1
    assert found["Test GPU"] == {
        "device": "Test GPU",
        "epoch_seconds": None,
        "runs": 0,
        "basis": "no finished run on this device yet",
    }


def test_a_worker_that_a_run_would_not_go_to_is_left_out(client: TestClient, present: Callable[..., None]) -> None:
    present(time.time(), kind="cuda")
    assert preview(client, family="simple_mlp", device="cpu")["predictions"] == []
    assert len(preview(client, family="simple_mlp", device="cuda")["predictions"]) == 1


class Simple(Inspector):
    """Knows what each network costs: its operations are ten times the square of its place."""

    def __init__(self, real: Inspector) -> None:
        self.real = real
        self.asked: list[str] = []

    async def catalog(self) -> Any:
        return await self.real.catalog()

    async def profile(self, config: RunConfig) -> Profile:
        return Profile(params=1, flops=10_000, batch_size=128, activation_bytes=1, memory_bytes=1)

    async def zoo(self, dataset: str) -> dict[tuple[str, str], Profile]:
        self.asked.append(dataset)
        costs = {"tiny": 100, "small": 1_000, "base": 100_000}
        blank = Profile(params=1, flops=1, batch_size=128, activation_bytes=1, memory_bytes=1)
        return {("simple_mlp", size): blank.model_copy(update={"flops": cost}) for size, cost in costs.items()}


def test_a_network_that_never_trained_here_is_told_roughly_from_others(
    server: FastAPI, client: TestClient, trained: Callable[..., str], runs: Runs
) -> None:
    simple = server.state.parts.inspector = Simple(server.state.parts.inspector)
    for size, speed in (("tiny", 10_000), ("small", 1_000), ("base", 10)):
        run = trained(size=size)
        runs.set(run, progress=json.dumps({"samples_per_second": speed}))
    (found,) = preview(client, family="vit")["predictions"]
    assert found["epoch_seconds"] == pytest.approx(1257 / 100)
    assert (found["runs"], found["basis"][:5]) == (3, "rough")
    assert simple.asked == ["digits"]


def test_a_preview_that_cannot_be_made_is_unavailable_and_a_launch_goes_through(
    server: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(config: RunConfig) -> Profile:
        raise Unavailable("the network inspection process ended")

    monkeypatch.setattr(server.state.parts.inspector, "profile", away)
    body = {"family": "vit", "dataset": "mnist", "options": {"patch": 7}}
    answer = client.post("/api/v1/preview", json=body)
    assert (answer.status_code, answer.json()["detail"]) == (503, "the network inspection process ended")
    assert client.post("/api/v1/runs", json=body).status_code == 201
