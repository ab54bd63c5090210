"""Imports of images while worker and server are killed again and again: never half a dataset, never a lost one."""

from __future__ import annotations

import random
import signal
import threading
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.system.test_browser_datasets import photos

KILLS = 10


def test_killed_in_mid_import_ten_times_every_dataset_is_whole_in_the_end(own_yard: Any, tmp_path: Path) -> None:
    yard = own_yard()
    yard.wait_for_worker()
    colors = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
    chance = random.Random(5)
    undisturbed = send(yard, "undisturbed", photos(colors, 300))
    reference = ready(yard, "undisturbed", undisturbed)
    sent: dict[str, str] = {}
    for number in range(KILLS):
        name = f"killed-{number}"
        sent[name] = send(yard, name, photos(colors, 300))
        victim = ("worker", "server")[number % 2]
        killed_at(yard, victim, chance.uniform(0.0, 0.6))
        yard.until(lambda: yard.try_call("/datasets") is not None, 60)
    for name, import_id in sent.items():
        found = ready(yard, name, import_id)
        assert found["versions"][0]["version"] == reference["versions"][0]["version"], name
    own = yard.folder / "data" / "datasets" / "own"
    assert sorted(each.name for each in own.iterdir()) == sorted(["undisturbed", *sent])
    assert list(own.rglob("*.tmp")) == []


def send(yard: Any, name: str, content: bytes) -> str:
    """The id of an import; sent again until the server has acknowledged it."""

    def acknowledged() -> str | None:
        try:
            files = {"file": (f"{name}.zip", content)}
            answer = httpx.post(f"{yard.address}/api/v1/datasets", data={"name": name}, files=files, timeout=120)
        except httpx.TransportError:
            return None
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    return str(yard.until(acknowledged, 60))


def state(yard: Any, number: str) -> str | None:
    """What an import is at; None while the server does not answer."""
    found = yard.try_call(f"/dataset-imports/{number}")
    return found["status"] if found else None


def ready(yard: Any, name: str, number: str) -> Any:
    """The dataset of an import that must not fail."""

    def reached() -> Any:
        found = state(yard, number)
        assert found != "failed", yard.call(f"/dataset-imports/{number}")["reason"]
        return yard.try_call(f"/datasets/{name}") if found == "ready" else None

    return yard.until(reached, 120)


def killed_at(yard: Any, victim: str, seconds: float) -> None:
    """Kill a part after so many seconds, and what it has started with it if that does not end by itself."""
    part = yard.child("worker") if victim == "worker" else yard.child("app.cli", "server")
    children = part.children(recursive=True)
    threading.Event().wait(seconds)
    part.send_signal(signal.SIGKILL)
    _, left = psutil.wait_procs(children, timeout=20)
    assert left == []
