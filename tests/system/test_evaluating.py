"""`runyard evaluate`, `runyard robustness` and the same from Python, by real jobs of real runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from runyard import AsyncRunyard, Runyard, RunyardError
from tests.conftest import run_apart
from tests.system.running_yard import OFFLINE, ROOT


def said(yard: Any, *words: str, status: int = 0) -> str:
    """What a command prints; its complaint if it fails."""
    environment = {**os.environ, **OFFLINE, "RUNYARD_URL": yard.address, "COLUMNS": "200"}
    command = [sys.executable, "-m", "app.cli", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


@pytest.fixture(scope="module")
def bare(yard: Any) -> dict[str, Any]:
    """A run whose predictions were not kept."""
    run = yard.launch(family="simple_mlp", size="tiny", dataset="digits", epochs=2, keep_predictions=False)
    found: dict[str, Any] = yard.wait_for(run, "succeeded")
    return found


def jobs(yard: Any, run: str) -> list[str]:
    return [job["kind"] for job in yard.call(f"/runs/{run}/jobs")["jobs"]]


def test_what_is_not_known_is_measured_and_what_is_known_is_not_measured_again(yard: Any, bare: Any) -> None:
    number = str(bare["number"])
    accuracy = bare["summary"]["test/acc"]["last"]
    assert jobs(yard, bare["id"]) == []
    found = json.loads(said(yard, "evaluate", number, "--json"))
    assert found["accuracy"] == pytest.approx(accuracy)
    assert (found["part"], found["images"], len(found["classes"])) == ("test", 360, 10)
    assert jobs(yard, bare["id"]) == ["evaluate"]
    text = said(yard, "evaluate", number, "--part", "validation")
    assert "images             180 of the validation split" in text
    assert text.count("%") == 2 + 3 * 10
    assert jobs(yard, bare["id"]) == ["evaluate"]

    spoiled = json.loads(said(yard, "robustness", number, "--json"))
    assert spoiled["clean"]["digit"] == pytest.approx(accuracy)
    assert len(spoiled["accuracy"]["digit"]) == 15
    text = said(yard, "robustness", number)
    assert f"digit: {100 * accuracy:.2f}% unchanged, {100 * spoiled['mean']['digit']:.2f}% spoiled, on average" in text
    assert text.count("\n") == 4 + 2 + 2 + 15
    assert jobs(yard, bare["id"]) == ["robustness", "evaluate"]


def test_python_measures_the_same_reports_progress_and_waits_in_an_event_loop_too(yard: Any, bare: Any) -> None:
    shares: list[float] = []
    with Runyard(yard.address) as client:
        run = client.run(bare["id"])
        first = run.robustness(seed=3, progress=shares.append)
        assert run.robustness(seed=3) == first
        with pytest.raises(TimeoutError, match="has not ended; it continues on the server"):
            run.robustness(seed=4, timeout=0)
        assert run.evaluate()["accuracy"]["test"]["digit"] == pytest.approx(bare["summary"]["test/acc"]["last"])
    assert shares
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)

    async def ask() -> tuple[Any, Any]:
        async with AsyncRunyard(yard.address) as client:
            run = await client.run(bare["id"])
            return await asyncio.gather(run.robustness(seed=3), run.evaluate(progress=shares.append))

    again, evaluated = run_apart(ask())
    assert again == first
    assert evaluated["accuracy"]["test"]["digit"] == pytest.approx(bare["summary"]["test/acc"]["last"])


def test_a_run_without_weights_or_without_the_head_says_so(yard: Any, bare: Any) -> None:
    run = yard.log("elsewhere", {"val/acc": {0: 0.5}})
    number = str(yard.call(f"/runs/{run}")["number"])
    for command in ("evaluate", "robustness"):
        assert "this run was logged by a script, so its weights are not here" in said(yard, command, number, status=1)
    with Runyard(yard.address) as client, pytest.raises(RunyardError, match="logged by a script"):
        client.run(run).evaluate()
    assert "does not predict 'color'" in said(yard, "evaluate", str(bare["number"]), "--head", "color", status=1)
