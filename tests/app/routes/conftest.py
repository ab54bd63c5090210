"""What the tests of pages share: runs that have trained, and a look at a page's HTML."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import Engine

from app.contract.events import DeviceInfo, Heartbeat, LogLine
from app.store.database import next_commit, writing
from app.store.log import add_lines
from app.store.metric import Curve, add_points
from app.store.worker import record_heartbeat

if TYPE_CHECKING:
    from tests.conftest import Runs

BEGAN = 1_700_000_000.0


class Page(HTMLParser):
    """A page as a list of elements, so that tests ask for what is there and not for how it is written."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: dict[str, str] = {}
        self._ids: list[tuple[str, str]] = []
        self._script: dict[str, str] | None = None
        self.inline_scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag == "script":
            self._script = found
        if "id" in found:
            self._ids.append((tag, found["id"]))
            self.words[found["id"]] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        if self._ids and self._ids[-1][0] == tag:
            self._ids.pop()

    def handle_data(self, data: str) -> None:
        if self._script is not None and "src" not in self._script and data.strip():
            self.inline_scripts.append(self._script.get("type", ""))
        if self._ids:
            self.words[self._ids[-1][1]] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """The attributes of every such element; ``class_`` stands for class, an underscore for a dash."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in wanted.items())
        ]

    def one(self, tag: str, **attributes: str) -> dict[str, str]:
        """The only such element."""
        found = self.all(tag, **attributes)
        assert len(found) == 1, (tag, attributes, len(found))
        return found[0]


@pytest.fixture
def look() -> Callable[[Any], Page]:
    """Reads an answer as a page; fails when it is none, or when the browser's policy would refuse a part of it."""

    def read(answer: Any, status: int = 200) -> Page:
        assert answer.status_code == status, answer.text[:500]
        page = Page(answer.text)
        assert not [found for _, found in page.elements if "style" in found]
        assert not [name for _, found in page.elements for name in found if name.startswith("on")]
        assert not page.all("style")
        assert set(page.inline_scripts) <= {"application/json"}
        ids = [found["id"] for _, found in page.elements if "id" in found]
        assert len(ids) == len(set(ids)), [each for each in ids if ids.count(each) > 1]
        return page

    return read


@pytest.fixture
def trained(runs: Runs, engine: Engine) -> Callable[..., str]:
    """Adds a run with curves and a log, and lets it end if an outcome is named."""

    def add(outcome: str | None = "succeeded", level: float = 0.9, points: int = 200, **said: Any) -> str:
        run = runs.add(now=BEGAN, **said)
        steps = np.arange(points, dtype=np.int64)
        epochs = np.array([points // 2, points], dtype=np.int64)
        times, ends = BEGAN + steps.astype(np.float64), BEGAN + epochs.astype(np.float64)
        loss = 2 * np.exp(steps / -50.0)
        loss[points // 4] = np.nan
        curves = {
            "train/loss": Curve(steps, loss, times),
            "train/lr": Curve(steps, np.full(points, 1e-3), times),
            "val/acc": Curve(epochs, np.array([level - 0.1, level]), ends),
            "val/loss": Curve(epochs, np.array([0.5, 0.4]), ends),
        }
        if outcome == "succeeded":
            curves["test/acc"] = Curve(epochs[1:], np.array([level - 0.01]), ends[1:])
        progress = json.dumps({"epoch": 2, "epochs": 2, "step": points, "steps": points, "samples_per_second": 182_000})
        runs.set(run, status="running", fence=1, started_at=BEGAN, attempt=1, progress=progress, device="made-up cpu")
        with writing(engine) as connection:
            commit = next_commit(connection)
            for name, curve in curves.items():
                add_points(connection, run, name, curve, commit)
            add_lines(connection, run, 1, [LogLine(time=BEGAN, level="info", text="epoch 1 <done>")], commit)
        if outcome is not None:
            runs.finish(run, outcome, BEGAN + 130)
        return run

    return add


@pytest.fixture
def present(engine: Engine) -> Callable[..., None]:
    """Lets a worker be there."""

    def hear_it(now: float, slots: int = 1, kind: str = "cpu") -> None:
        device = DeviceInfo.model_validate({"kind": kind, "name": "Test GPU", "memory_bytes": 80 * 2**30, "cores": 8})
        beat = Heartbeat(
            worker="w1", beat=1, host="trainbox", pid=7, slots=slots, device=device, versions={"torch": "2.15"}, runs=[]
        )
        with writing(engine) as connection:
            record_heartbeat(connection, beat, now)

    return hear_it
