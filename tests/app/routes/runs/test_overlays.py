"""Overlays on a run page: runs by ID, the best so far, the mean of earlier runs, and the forecast."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from sqlalchemy import Engine

from app.analysis.forecast import FEWEST
from app.store.database import next_commit, writing
from app.store.metric import Curve, add_points


def shown(page: Any) -> Any:
    found = re.search(r'<script type="application/json" id="points">(.*?)</script>', page.html, re.S)
    assert found
    return json.loads(found[1])


def chart(said: Any, key: str) -> Any:
    return next(each for each in said["charts"] if each["key"] == key)


def test_an_overlaid_run_has_its_own_color_and_a_link(client: Any, look: Any, trained: Any) -> None:
    other, run = trained(level=0.8), trained(level=0.9, seed=2)
    page = look(client.get(f"/runs/{run}?with={other}&baseline={other}"))
    said = shown(page)
    curves = {each["id"]: each for each in chart(said, "acc")["series"]}
    assert list(curves) == ["val/acc", f"{other}:val/acc"]
    assert curves[f"{other}:val/acc"]["href"] == f"/runs/{other}"
    assert curves["val/acc"]["against"] == f"{other}:val/acc"
    assert np.allclose(said["points"][f"{other}:val/acc"]["value"], [0.7, 0.8])
    assert len(page.all("b", data_delta="val/acc")) == 1
    # The choice is in the form that sets the charts too, so that nothing of the view is lost without a script.
    assert {"type": "hidden", "name": "with", "value": other} in page.all("input")


def test_the_best_so_far_is_the_best_finished_run_of_the_same_dataset(client: Any, look: Any, trained: Any) -> None:
    best = trained(level=0.95)
    trained(level=0.97, dataset="mnist")
    trained(level=0.96, outcome="failed")
    trained(level=0.5)
    run = trained(level=0.9)
    said = shown(look(client.get(f"/runs/{run}?with=best&baseline=best")))
    assert [each["id"] for each in chart(said, "acc")["series"]] == ["val/acc", f"{best}:val/acc"]
    assert said["baseline"] == best


def test_the_mean_is_of_earlier_runs_that_differ_in_their_seed_alone(client: Any, look: Any, trained: Any) -> None:
    trained(level=0.8, seed=1)
    trained(level=0.9, seed=2)
    trained(level=0.2, seed=3, lr=0.5)
    run = trained(level=0.7, seed=4)
    trained(level=0.1, seed=5)
    said = shown(look(client.get(f"/runs/{run}?with=earlier")))
    mean = said["points"]["earlier:val/acc"]
    assert np.allclose(mean["value"], [0.75, 0.85])
    assert mean["low"][0] < 0.75 < mean["high"][0]
    assert "mean of 2 earlier" in chart(said, "acc")["series"][1]["label"]


def test_missing_overlays_are_reported(client: Any, look: Any, trained: Any) -> None:
    run = trained()
    page = look(client.get(f"/runs/{run}?with=best,earlier,r_nothing"))
    for words in (
        "No other successful run",
        "No earlier successful run with this configuration",
        "Run r_nothing not found.",
    ):
        assert words in page.html


def test_overlays_on_a_run_with_several_heads_use_its_first_head(
    client: Any, look: Any, runs: Any, trained: Any, engine: Engine
) -> None:
    single = trained(level=0.9)
    run = runs.add(targets=["digit", "thickness"])
    runs.set(run, status="running", fence=1, started_at=1000.0)
    steps, times = np.array([9], dtype=np.int64), np.array([1001.0])
    with writing(engine) as connection:
        add_points(connection, run, "val/digit/acc", Curve(steps, np.array([0.5]), times), next_commit(connection))
    said = shown(look(client.get(f"/runs/{run}?with={single}")))
    assert f"{single}:val/acc" in [each["id"] for each in chart(said, "digit/acc")["series"]]


def test_a_live_run_has_a_forecast_that_states_the_number_of_finished_runs(
    client: Any, look: Any, runs: Any, trained: Any, engine: Engine
) -> None:
    for seed in range(FEWEST - 1):
        trained(level=0.8 + seed / 100, seed=seed + 1)
    run = runs.add(seed=99)
    runs.set(run, status="running", fence=1, started_at=1000.0, progress=json.dumps({"epoch": 1, "epochs": 2}))
    with writing(engine) as connection:
        curve = Curve(np.array([100], dtype=np.int64), np.array([0.75]), np.array([1001.0]))
        add_points(connection, run, "val/acc", curve, next_commit(connection))
    assert f"at least 2 epochs ({FEWEST - 1} so far)." in look(client.get(f"/runs/{run}")).html
    trained(level=0.9, seed=50)
    fragment = client.get(f"/runs/{run}/forecast").text
    # All of them gained 0.1 from the first epoch to the second.
    assert "<b>85.00%</b>" in fragment
    assert f"the 80% interval contained the final value of {FEWEST} of {FEWEST} runs." in fragment
    assert "forecast" not in look(client.get(f"/runs/{trained()}")).words


def test_after_the_last_validation_there_is_no_forecast(client: Any, runs: Any) -> None:
    run = runs.add()
    runs.set(run, status="running", fence=1, started_at=1000.0, progress=json.dumps({"epoch": 2, "epochs": 2}))
    fragment = client.get(f"/runs/{run}/forecast").text
    assert "No forecast: the final validation is already done." in fragment
    assert "so far" not in fragment


def test_a_failed_run_offers_possible_fixes(client: Any, look: Any, runs: Any) -> None:
    run = runs.add(batch_size=128, lr=0.01)
    runs.set(run, status="failed", reason="the GPU's memory does not hold a batch of 128", ended_at=1.0)
    page = look(client.get(f"/runs/{run}"))
    assert page.one("a", id="again-half-batch")["href"] == f"/launch?from={run}&batch_size=64"
    runs.set(run, reason="loss became NaN at step 4")
    page = look(client.get(f"/runs/{run}"))
    assert page.one("a", id="again-lower-rate")["href"] == f"/launch?from={run}&lr=0.001"
    assert page.one("a", id="again-clipped")["href"].endswith("clip_norm=1")
    assert page.one("button", id="failed-retry")
