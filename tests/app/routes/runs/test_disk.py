"""Disk used by a run and by all of them: on their pages and in the API."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.contract.disk_space import DiskSpace
from app.contract.events import Checkpoint
from app.contract.settings import Settings
from app.store.database import writing
from tests.app.predicted import keep, predictions_of
from tests.conftest import Runs


def test_a_run_says_what_its_files_take(
    client: TestClient, runs: Runs, settings: Settings, engine: Engine, look: Any
) -> None:
    run, other = runs.add(), runs.add()
    assert client.get(f"/api/v1/runs/{run}/disk").json()["total"] == 0
    assert "disk-used" not in look(client.get(f"/runs/{run}")).words
    best = Checkpoint(path=f"{run}/1/best", epoch=1, step=9, bytes=2_500_000)
    runs.set(run, best_checkpoint=best.model_dump_json())
    keep(settings, engine, found := predictions_of(run))
    size = len(found.to_bytes())
    said = client.get(f"/api/v1/runs/{run}/disk").json()
    assert said == {
        "checkpoints": 2_500_000,
        "predictions": size,
        "exports": 0,
        "files": 0,
        "histograms_and_texts": 0,
        "unknown": 0,
        "total": 2_500_000 + size,
    }
    for address in (f"/runs/{run}", f"/runs/{run}/head"):
        words = look(client.get(address)).words["disk-used"]
        assert "checkpoints2.5 MB" in words
        assert "exports" not in words
    assert client.get(f"/api/v1/runs/{other}/disk").json()["total"] == 0
    assert client.get("/api/v1/disk").json() == said
    assert client.get("/api/v1/runs/r_none/disk").status_code == 404


def test_the_page_of_datasets_says_what_all_runs_take_besides(client: TestClient, runs: Runs, look: Any) -> None:
    assert "disk-used" not in look(client.get("/datasets")).words
    run = runs.add()
    runs.set(run, best_checkpoint=Checkpoint(path="x", epoch=1, step=9, bytes=1000).model_dump_json())
    words = look(client.get("/datasets")).words["disk-used"]
    assert words.startswith("Besides, all runs use 1 kB: checkpoints 1 kB. Deleted runs count")


def test_checkpoints_of_earlier_versions_are_said_to_be_of_unknown_size(
    client: TestClient, runs: Runs, look: Any
) -> None:
    run = runs.add()
    runs.set(run, checkpoint='{"path": "x", "epoch": 1, "step": 9}')
    assert "1 checkpoint of unknown size" in look(client.get(f"/runs/{run}")).words["disk-used"]


def test_disks_with_little_room_are_told_on_every_page_and_in_the_api(
    client: TestClient, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk,) = client.get("/api/v1/disks").json()["disks"]
    assert 0 < disk["free"] <= disk["total"]
    assert disk["needed"] <= disk["total"]
    for state, said in (("low", "Disk space on lab is low: 1.4 GiB free."), ("full", "The disk of lab is full:")):
        space = DiskSpace(host="lab", folder="/srv", free=1_500_000_000, total=10**12, needed=10**9, state=state)
        monkeypatch.setattr("app.services.disk_warnings.measure", lambda settings, space=space: space)
        assert client.get("/api/v1/disks").json()["disks"] == [space.model_dump()]
        for page in ("/", "/runs", "/launch"):
            assert said in look(client.get(page)).words["disk-banner"]
        assert said.split(":")[0] in client.get("/nothing").text
        fragment = client.get("/now/yard")
        assert 'id="disk-banner" hx-swap-oob="true"' in fragment.text
        assert said in look(fragment).words["disk-banner"]


@pytest.mark.parametrize(("seconds", "said"), [(7200.0, "2 h ahead of"), (-7200.0, "2 h behind")])
def test_a_clock_that_is_far_off_is_told_on_every_page(
    client: TestClient, runs: Runs, present: Any, look: Any, seconds: float, said: str
) -> None:
    present(time.time())
    with writing(runs.engine) as connection:
        connection.execute(text("UPDATE worker SET clock_off = :off"), {"off": seconds})
    words = " ".join(look(client.get("/runs")).words["disk-banner"].split())
    assert words.startswith("The clock of trainbox is 2 h")
    assert said in words
